"""The command line: `python -m app COMMAND`."""

import argparse
import sys

from app.errors import StartError
from app.server import serve
from app.settings import load_settings


def main() -> int:
    """Run one command; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m app", description="Coinswarm Memory")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="run the service")
    parser.parse_args()
    try:
        return serve(load_settings())
    except StartError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
