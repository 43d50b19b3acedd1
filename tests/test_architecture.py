"""Promises about the code as a whole."""

import inspect
from pathlib import Path

import pytest
import redis
import redis.exceptions as foreign

from app import errors
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


def test_the_tree_at_the_top_of_the_errors_file_is_true() -> None:
    drawn = inspect.getdoc(errors) or ""
    for error in own_errors(errors.MemoryServiceError):
        assert error.__name__ in drawn
    for error in own_errors(errors.InputError)[1:]:
        line = next(line for line in drawn.splitlines() if f" {error.__name__} " in f"{line} ")
        if "code" in vars(error):
            assert str(error.status) in line


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
