"""The `coinswarm` command: ask a service from a terminal. Needs the extra `command`."""

import sys

from coinswarm_memory.errors import CoinswarmError, PackageMissing
from coinswarm_memory.packages import require


def main() -> None:
    """Run the command with the process's arguments. Exits with 1 after one line on an error."""
    try:
        for package in ("typer", "rich"):
            require(package, "command")
        from coinswarm_memory.command.line import app  # noqa: PLC0415 - needs what was just checked

        app()
    except PackageMissing as error:
        sys.exit(str(error))
    except (CoinswarmError, OSError) as error:
        from coinswarm_memory.command.printing import plain  # noqa: PLC0415

        sys.exit(plain(str(error)))
