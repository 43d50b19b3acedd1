"""Texts are plain English: words that a native engineer would not write do not come back."""

import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
READ = ("app", "docs", "README.md", "clients")
SUFFIXES = (".py", ".md", ".lua", ".ts", ".js")
NOT_PLAIN = re.compile(
    r"\b(so many|whoever|whichever|anew|is told|at the most|goes on)\b|; None:", re.IGNORECASE
)

ALLOWED: dict[str, int] = {}
"""How often a file may still have them. The list only shrinks: a number above the truth fails."""


def found_in(text: str) -> list[str]:
    """Return the words that are not plain, also across the ends of lines."""
    return [found[0] for found in NOT_PLAIN.finditer(re.sub(r"\s+", " ", text))]


def texts() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--", *READ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [REPOSITORY / name for name in listed.stdout.splitlines() if name.endswith(SUFFIXES)]
    return [path for path in paths if path.exists()]


def test_no_text_has_words_that_are_not_plain() -> None:
    found = {str(path.relative_to(REPOSITORY)): found_in(path.read_text()) for path in texts()}
    counts = {name: len(words) for name, words in found.items() if words}
    assert counts == ALLOWED, {name: found.get(name) for name in counts.keys() ^ ALLOWED.keys()}


@pytest.mark.parametrize(
    "text", ["Keeps so\nmany answers.", "Whoever asks.", "Returns the key; None: there is none."]
)
def test_words_that_are_not_plain_are_found(text: str) -> None:
    assert found_in(text)


def test_plain_words_are_not_found() -> None:
    assert not found_in("Return the key, or None. At most 20 answers are kept; the others go.")
