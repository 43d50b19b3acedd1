"""What is generated is current, and both halves of the client offer the same."""

import ast
import importlib.util
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import coinswarm_memory as cm
from app import errors
from coinswarm_memory.problems import CLASSES
from tests.kit.service_process import REPOSITORY

CLIENT = REPOSITORY / "clients/python"
PAIRS = ["Memory", "Agent", "Concepts", "Distances", "Draw", "Pages", "Writer"]


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, CLIENT / f"tools/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_synchronous_half_is_current(tmp_path: Path) -> None:
    kept = CLIENT / "src/coinswarm_memory/_sync"
    for written in tool("generate_sync").generate(tmp_path):
        assert written.read_text() == (kept / written.name).read_text(), "make client-generate"


def test_there_is_one_class_for_each_code_of_the_service() -> None:
    answered = {
        error.code: error
        for error in vars(errors).values()
        if inspect.isclass(error)
        and "code" in vars(error)
        and issubclass(error, errors.MemoryServiceError)
        and not issubclass(error, errors.StartError | errors.TransferError)
    }
    assert set(CLASSES) == set(answered), "make client-generate"
    for code, ours in CLASSES.items():
        assert ours.code == code
        theirs = answered[code]
        assert ours.__name__ in {theirs.__name__, "ServiceFailed"}
        assert issubclass(ours, cm.ServiceProblem)
        assert getattr(cm, ours.__name__) is ours


def public(kind: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in vars(kind).items()
        if not name.startswith("_") or name == "__init__"
    }


@pytest.mark.parametrize("name", PAIRS)
def test_both_halves_have_the_same_names_and_parameters(name: str) -> None:
    ours, theirs = public(getattr(cm, name)), public(getattr(cm, f"Async{name}"))
    assert list(ours) == list(theirs)
    for member, function in ours.items():
        if not inspect.isfunction(function):
            continue
        one = [str(p).split(":")[0] for p in inspect.signature(function).parameters.values()]
        other = inspect.signature(theirs[member]).parameters.values()
        assert one == [str(p).split(":")[0] for p in other], member
        assert not inspect.iscoroutinefunction(function)


def test_the_client_imports_nothing_of_the_service() -> None:
    for path in (CLIENT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names = [node.module or ""]
            assert not {name.partition(".")[0] for name in names} & {"app", "tests", "demo"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    for name in ("AsyncNothing", "Nothing"):
        with pytest.raises(AttributeError):
            getattr(cm, name)
