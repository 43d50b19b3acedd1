"""One service at a time on a data folder."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import DataFolderInUse, EmbeddedRedisError

LOCK_NAME = "service.lock"
POLL_INTERVAL_S = 0.05
TAKE_OVER_TIMEOUT_S = 60.0
"""A killed service's Redis writes its last data and goes: wait that long for it."""


@contextmanager
def locked_data_folder(folder: Path) -> Iterator[int]:
    """Own the folder; yields the lock's descriptor, which Redis inherits.

    The lock is held until the last process with this descriptor is gone, so that a service that
    comes right after a killed one never starts a second Redis on files still being written.
    Raises DataFolderInUse while another service lives, EmbeddedRedisError for a folder that cannot
    be used.
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


def _acquire(descriptor: int, folder: Path) -> None:
    give_up_at = time.monotonic() + TAKE_OVER_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = _owner(descriptor)
            if _lives(owner) or time.monotonic() > give_up_at:
                raise DataFolderInUse(
                    f"The data folder {folder} is used by another service (process {owner}): stop "
                    "that one, or set MEMORY_DATA_DIR to another folder."
                ) from error
            time.sleep(POLL_INTERVAL_S)
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
