"""Promises about the code as a whole."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import redis.exceptions as foreign

from app import errors
from app.api import http_errors
from app.nodes.redis_errors import IndexMissing, ScriptMissing, translate

REPOSITORY = Path(__file__).parent.parent


def own_errors(base: type[BaseException]) -> list[type[errors.MemoryServiceError]]:
    return [
        error
        for _, error in inspect.getmembers(errors, inspect.isclass)
        if issubclass(error, base) and issubclass(error, errors.MemoryServiceError)
    ]


@pytest.mark.parametrize(
    "theirs",
    [
        error
        for _, error in inspect.getmembers(foreign, inspect.isclass)
        if issubclass(error, foreign.RedisError)
    ],
)
def test_every_error_of_the_library_becomes_one_of_ours(theirs: type[foreign.RedisError]) -> None:
    ours = translate(theirs.__new__(theirs))
    assert isinstance(ours, errors.MemoryServiceError | IndexMissing | ScriptMissing)


def test_the_library_is_not_shadowed_by_the_folder() -> None:
    assert REPOSITORY not in Path(str(redis.__file__)).parents or ".venv" in str(redis.__file__)
    assert not list((REPOSITORY / "redis").glob("**/*.py"))


def test_each_error_has_a_code_of_its_own_and_a_status() -> None:
    leaves = [error for error in own_errors(errors.MemoryServiceError) if "code" in vars(error)]
    codes = [error.code for error in leaves]
    assert sorted(codes) == sorted(set(codes))
    assert all(400 <= error.status <= 599 for error in leaves)


def tree_of_errors() -> Iterator[str]:
    """Draw the classes of app/errors.py and app/api/http_errors.py in their order."""
    yield errors.MemoryServiceError.__name__
    yield from branches(errors.MemoryServiceError, "")


def branches(parent: type[errors.MemoryServiceError], indent: str) -> Iterator[str]:
    modules = (errors.__name__, http_errors.__name__)
    children = [child for child in parent.__subclasses__() if child.__module__ in modules]
    children.sort(key=lambda child: modules.index(child.__module__))
    for child in children:
        is_last = child is children[-1]
        line = f"{indent}{'└── ' if is_last else '├── '}{child.__name__}"
        is_answer = child.code != errors.MemoryServiceError.code and not issubclass(
            child, errors.StartError | errors.TransferError
        )
        status = f"{child.status}{'  retryable' if child.retryable else ''}"
        yield f"{line:<34}{status}" if is_answer else line
        yield from branches(child, indent + ("    " if is_last else "│   "))


def test_the_tree_at_the_top_of_the_errors_file_is_that_of_the_classes() -> None:
    _, drawn, _ = (inspect.getdoc(errors) or "").split("\n\n")
    remark_or_status = 34  # the column
    lines = [
        line if line[remark_or_status:][:3].isdigit() else line[:remark_or_status].rstrip()
        for line in drawn.splitlines()
    ]
    assert lines == list(tree_of_errors())


def test_no_file_and_no_folder_without_a_name_for_its_content() -> None:
    banned = {"utils", "helpers", "manager", "common", "misc"}
    names = {path.stem for path in (REPOSITORY / "app").rglob("*")}
    assert not names & banned


def test_no_file_grows_beyond_one_reason() -> None:
    long = {
        str(path.relative_to(REPOSITORY)): lines
        for path in (REPOSITORY / "app").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 550
    }
    assert not long
