"""Parses the command line, runs the command, and turns its errors into a sentence and an exit
status."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from app.commands import (
    check,
    consolidate,
    evaluate,
    export_memory,
    groups,
    import_memory,
    keys,
    list_settings,
    retention,
    serve,
    topology,
)
from app.commands.command import FAILED, Command
from app.commands.output import complain
from app.errors import MemoryServiceError

COMMANDS: tuple[Command, ...] = (
    serve.COMMAND,
    check.COMMAND,
    consolidate.COMMAND,
    evaluate.COMMAND,
    export_memory.COMMAND,
    groups.COMMAND,
    import_memory.COMMAND,
    keys.COMMAND,
    list_settings.COMMAND,
    retention.COMMAND,
    topology.COMMAND,
)


INTERRUPTED = 130
"""The shell's exit status for Ctrl-C."""

INSTALLED = "coinswarm-memory"
PROGRAM = INSTALLED if Path(sys.argv[0]).name == INSTALLED else "./memory"
"""What the user runs. `./memory` is `python -m app` in the right environment."""


def run(words: Sequence[str] | None = None) -> int:
    """Run the command that these words (None: the program's) name. Return the exit status."""
    arguments = _parser().parse_args(words)
    command: Command = arguments.command
    try:
        return command.run(arguments)
    except MemoryServiceError as error:
        complain(f"{error.detail}\n")
        return FAILED
    except KeyboardInterrupt:
        complain(f"\n{command.interrupted}\n" if command.interrupted else "")
        return INTERRUPTED


def main() -> None:
    """Run this program's command and exit. The entry point of the installed script."""
    sys.exit(run())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Coinswarm Memory")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        own = commands.add_parser(
            command.name,
            help=command.summary,
            description=command.description or command.summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(own)
        own.set_defaults(command=command)
    return parser
