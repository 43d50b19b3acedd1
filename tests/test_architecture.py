"""Promises about the code as a whole."""

import ast
import inspect
import tomllib
from collections import Counter
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


APP = REPOSITORY / "app"
MODULES_OF_A_FOLDER = 22
FILES_AT_THE_TOP = 12
SMALL_FILE = 40
LAYERS = 15

ASSIGNED_ELSEWHERE = {
    "app.api.openapi: app.openapi",
    "app.api.openapi: app.openapi_schema",
    "app.commands.progress: self._bar.total",
    "app.log_config: record.request_id",
    "app.nodes.redis_errors: ours.__cause__",
    "app.read_path.batcher: waiter.question.trace.batch_size",
    "app.read_path.batcher: waiter.question.trace.waiting_ms",
    "app.server.uvicorn_server: cycle.disconnected",
}
"""What libraries want assigned, and records that travel within another record."""


def modules() -> dict[str, Path]:
    """Every module of the service by its dotted name."""
    found = {}
    for path in sorted(APP.rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def importers() -> dict[str, set[str]]:
    """Who imports each module."""
    known = modules()
    found: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                wanted = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                wanted = [one if one in known else node.module for one in inner]
            else:
                continue
            for one in wanted:
                if one in found:
                    found[one].add(name)
    return found


def test_no_room_is_crowded() -> None:
    folders = Counter(path.parent for path in modules().values() if path.stem != "__init__")
    crowded = {
        str(folder.relative_to(REPOSITORY)): count
        for folder, count in folders.items()
        if count > MODULES_OF_A_FOLDER
    }
    assert not crowded
    assert len(list(APP.glob("*.py"))) <= FILES_AT_THE_TOP


def test_no_small_file_serves_one_other_alone() -> None:
    users = importers()
    small = {
        name
        for name, path in modules().items()
        if path.stem not in {"__init__", "__main__"}
        and "\nCOMMAND = " not in path.read_text("utf-8")  # one command, one file
        and len(path.read_text("utf-8").splitlines()) < SMALL_FILE
        and len(users[name]) == 1
    }
    assert not small, "fold these into the file that uses them"


def test_no_public_class_has_the_name_of_another() -> None:
    named: dict[str, list[str]] = {}
    for module, path in modules().items():
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                named.setdefault(node.name, []).append(module)
    twice = {name: where for name, where in named.items() if len(where) > 1}
    assert not twice


def declared_fields(tree: ast.Module, names: set[str] | None = None) -> set[str]:
    """The fields that the classes of a file declare; with `names`, those classes alone."""
    return {
        node.target.id
        for kind in tree.body
        if isinstance(kind, ast.ClassDef) and (names is None or kind.name in names)
        for node in kind.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def foreign_assignments(text: str) -> set[str]:
    """The attributes that a module assigns on objects of others.

    What it may fill in: `self`, and the declared fields of the records (dataclasses, models) that
    it defines or imports by name.
    """
    tree, known = ast.parse(text), modules()
    fields = declared_fields(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in known:
            names = {alias.name for alias in node.names}
            fields |= declared_fields(ast.parse(known[node.module].read_text("utf-8")), names)
    return {
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store | ast.Del)
        and not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"})
        and node.attr not in fields
    }


def test_nobody_assigns_another_objects_attributes() -> None:
    assigned = {
        f"{module}: {attribute}"
        for module, path in modules().items()
        for attribute in foreign_assignments(path.read_text("utf-8"))
    }
    assert assigned == ASSIGNED_ELSEWHERE


def test_layers_are_few_and_nothing_is_excused() -> None:
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["tool"][
        "importlinter"
    ]["contracts"]
    layers, redis_only, http_only, *_ = contracts
    assert len(layers["layers"]) <= LAYERS
    assert "ignore_imports" not in layers
    assert (redis_only["source_modules"], redis_only["forbidden_modules"]) == (["app"], ["redis"])
    assert {one.split(" -> ")[0] for one in redis_only["ignore_imports"]} == {
        "app.nodes.**",
        "app.embedded.**",
    }
    assert {one.split(" -> ")[0] for one in http_only["ignore_imports"]} == {
        "app.api.**",
        "app.server.**",
    }
