"""The examples of a page, run as they are printed: only the service's address is another."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PRINTED_URL = "http://127.0.0.1:8000"
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """Each example of a page in a language, with the line at which it begins."""
    text = page.read_text()
    for found in _FENCE.finditer(text):
        if found.group(1) == language:
            yield text.count("\n", 0, found.start(2)), found.group(2)


def run_python(
    page: Path, url: str, *, skipping: str | None = None, **given: object
) -> dict[str, Any]:
    """Run a page's Python examples one after the other; what they left behind.

    `skipping`: examples that hold this text are left out. `given`: what they take for granted.
    """
    names: dict[str, Any] = {"__name__": "documented", **given}
    for line, source in examples(page, "python"):
        if skipping is not None and skipping in source:
            continue
        code = "\n" * line + source.replace(PRINTED_URL, url)
        exec(compile(code, str(page), "exec"), names)
    return names


def shell_lines(page: Path) -> list[str]:
    """The command lines of a page's shell examples."""
    return [line for _, source in examples(page, "sh") for line in source.splitlines() if line]
