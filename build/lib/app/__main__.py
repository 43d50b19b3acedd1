"""The command line: `python -m app COMMAND`."""

import sys

from app.commands.command_line import run

if __name__ == "__main__":
    sys.exit(run())
