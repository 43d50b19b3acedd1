"""Texts are plain English: words that a native engineer would not write do not come back."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
READ = (
    *("app", "bench", "clients", "demo", "deploy", "docs", "loadtest/*.py", "redis", "tools"),
    *("loadtest/README.md", "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"),
)
SUFFIXES = (".py", ".md", ".lua", ".ts", ".js")
NOT_PLAIN = re.compile(
    r"\b(so many|whoever|whichever|anew|is told|at the most|goes on|for ever|gone through"
    r"|passed over|under way|of which no two|there is none(?!:)|held what|put back"
    r"|all the same|tells of"
    r"|(?:null|none|nan|zeros|infinite|0) where)\b|; None:",
    re.IGNORECASE,
)
NO_VERB = re.compile(
    r"(Whether|What|Where|Which|How|Who|As `|The|A|An|All|One|Of|Its|That|Until|Everything)\b"
)
"""How the docstring of a function does not begin: with a noun or a clause in place of a verb."""
WITH_VERBS = ("app", "bench", "clients/python/src", "demo", "loadtest", "tools")

ALLOWED: dict[str, int] = {}
"""How often a file may still have them. The list only shrinks: a number above the truth fails."""


def found_in(text: str) -> list[str]:
    """Return the words that are not plain, also across the ends of lines."""
    return [found[0] for found in NOT_PLAIN.finditer(re.sub(r"\s+", " ", text))]


def without_verb(source: str) -> list[str]:
    """Return the docstrings of functions, not of properties, that do not begin with a verb."""
    functions = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not any("property" in ast.unparse(mark) for mark in node.decorator_list)
    ]
    found = [ast.get_docstring(node) or "" for node in functions]
    return [text for text in found if NO_VERB.match(text)]


def texts(folders: tuple[str, ...] = READ) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--", *folders],
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


def test_the_docstring_of_a_function_begins_with_a_verb() -> None:
    paths = [path for path in texts(WITH_VERBS) if path.suffix == ".py"]
    found = {str(path.relative_to(REPOSITORY)): without_verb(path.read_text()) for path in paths}
    assert {name: texts for name, texts in found.items() if texts} == {}


def test_a_docstring_without_a_verb_is_found() -> None:
    source = 'def f():\n    """Whether it is."""\n@property\ndef g():\n    """The name."""\n'
    assert without_verb(source) == ["Whether it is."]
    assert without_verb(source.replace("Whether it is.", "Return whether it is.")) == []


@pytest.mark.parametrize(
    "text",
    [
        "Keeps so\nmany answers.",
        "Whoever asks.",
        "Returns the key; None: not there.",
        "The answer, null where it\nhas none.",
        "What is under way is kept.",
    ],
)
def test_words_that_are_not_plain_are_found(text: str) -> None:
    assert found_in(text)


def test_plain_words_are_not_found() -> None:
    assert not found_in("Return the key, or None. At most 20 answers are kept; the others go.")
