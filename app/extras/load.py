"""Imports of large packages when they are first needed.

A module that one thread imports is in `sys.modules` before it is whole, and two threads that import
packages with parts in common may each see half of the other's. So one thread imports at a time.
"""

import asyncio
import sys
import threading
from importlib import import_module
from typing import Any

_importing = threading.Lock()
_whole: set[str] = set()


def load(name: str) -> Any:
    """Return the module of this name. Raise ImportError."""
    if not _is_whole(name):
        with _importing:
            import_module(name)
            _whole.add(name)
    return sys.modules[name]


async def load_in_thread(name: str) -> Any:
    """Return the same as `load`. The event loop does not wait for the import."""
    return sys.modules[name] if _is_whole(name) else await asyncio.to_thread(load, name)


def _is_whole(name: str) -> bool:
    return name in _whole and sys.modules.get(name) is not None
