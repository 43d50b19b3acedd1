"""Kill and pause everything at random under load, then look for every confirmed memory.

`python -m tools.crash --minutes 60`; the promises and the results:
docs/reference/reliability.md.
"""
