"""Kill and pause everything at random under load, then look for every confirmed memory.

`python -m tests.crash --minutes 60`; what is promised and what came of it: docs/reference/reliability.md.
"""
