"""A command's output: results on standard output, problems on standard error."""

import sys

_LAYOUT = frozenset("\n\t")


def say(text: str) -> None:
    """Write text that may contain names chosen by others to standard output."""
    sys.stdout.write(printable(text))


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
