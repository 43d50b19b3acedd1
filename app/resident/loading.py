"""Loads modules that numba compiles when they are imported."""

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "compiled"
"""What the image was built with. numba reads only folders that it can write to."""


def load_compiled(name: str) -> Any:
    """Return the module of this name. Takes seconds if it is new: call it in a thread.

    Another process compiles it first and keeps the result beside the module or in NUMBA_CACHE_DIR,
    because the compiler holds the interpreter's lock for up to 0.2 s at a time.
    """
    if name in sys.modules:
        return importlib.import_module(name)  # waits for a thread that is importing it
    kept_in = os.environ.get("NUMBA_CACHE_DIR")
    if kept_in is not None and BUILT.is_dir():
        _copy_built(Path(kept_in))
    command = f"import os; os.nice(10); import {name}"
    # Whatever this process's folder is, the other one finds the package.
    subprocess.run([sys.executable, "-c", command], cwd=ROOT, check=False, capture_output=True)
    return importlib.import_module(name)


def _copy_built(folder: Path) -> None:
    """Copy what was built into a new folder, whole or not at all."""
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        whole = Path(shutil.copytree(BUILT, Path(temporary) / folder.name))
        try:
            whole.rename(folder)
        except OSError:  # another process was first
            return
