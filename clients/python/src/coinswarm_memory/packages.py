"""Packages that only some users need, imported when they are needed."""

from importlib import import_module
from typing import Any

from coinswarm_memory.errors import PackageMissing

WHERE = "in a copy of the service's repository"
"""No index has the client."""


def require(module: str, extra: str) -> Any:
    """Import an optional package. Raises PackageMissing, naming the extra that brings it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise missing(module, extra) from error


def missing(module: str, extra: str) -> PackageMissing:
    """Return the error that says what to install."""
    return PackageMissing(f"This needs {module}: pip install './clients/python[{extra}]' {WHERE}")
