"""The console: the files of the web page that shows what the swarm remembers.

They are plain ES modules that the browser loads unchanged; app/api/console/files.py serves them.
"""

from pathlib import Path

STATIC = Path(__file__).parent / "static"
