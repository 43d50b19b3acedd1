"""The definition of a command."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

DONE = 0
FAILED = 1
"""Exit statuses."""

CONTINUES = "Interrupted: run the same command again to continue."


def _no_arguments(_: argparse.ArgumentParser) -> None:
    """Add nothing: the command has no arguments of its own."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its name, a line for `--help`, and what it does. `run` returns the exit status.

    `run` may raise MemoryServiceError; then its sentence is printed and the status is 1.
    `interrupted` is printed after Ctrl-C.
    """

    name: str
    summary: str
    run: Callable[[argparse.Namespace], int]
    add_arguments: Callable[[argparse.ArgumentParser], None] = _no_arguments
    description: str | None = None
    interrupted: str = ""
