"""Loads modules that numba compiles when they are imported."""

import importlib
import subprocess
import sys
from typing import Any


def load_compiled(name: str) -> Any:
    """Return the module of this name. Takes seconds if it is new: call it in a thread.

    Another process compiles it first and keeps the result beside the module, because the compiler
    holds the interpreter's lock for up to 0.2 s at a time.
    """
    command = f"import os; os.nice(10); import {name}"
    subprocess.run([sys.executable, "-c", command], check=False, capture_output=True)
    return importlib.import_module(name)
