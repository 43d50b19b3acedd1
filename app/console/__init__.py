"""The console: the files of the page where people see what the swarm remembers.

They are plain ES modules that the browser loads as they are; app/api/console.py serves them.
"""

from pathlib import Path

STATIC = Path(__file__).parent / "static"
