"""A command's output: results on standard output, problems on standard error."""

import os
import sys

from app.commands.command import FAILED
from app.errors import MemoryServiceError

_LAYOUT = frozenset("\n\t")


def say(text: str) -> None:
    """Write text that may contain names chosen by others to standard output.

    Raise MemoryServiceError if it cannot be written. If its reader has left, end the program.
    """
    try:
        print(printable(text), end="", flush=True)  # noqa: T201 - a command's result
    except OSError as error:
        # What is still buffered must not fail again when Python closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            sys.exit(FAILED)
        raise MemoryServiceError(f"The result cannot be written: {error.strerror}.") from error


def complain(text: str) -> None:
    """Write text that may contain names chosen by others to standard error."""
    sys.stderr.write(printable(text))


def printable(text: str) -> str:
    r"""Return the text with every terminal control character escaped (`\x1b`)."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _LAYOUT else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def counted(number: int, thing: str) -> str:
    """Return `1 memory`, `2,000 memories`."""
    if number == 1:
        return f"1 {thing}"
    return f"{number:,} {thing[:-1]}ies" if thing.endswith("y") else f"{number:,} {thing}s"
