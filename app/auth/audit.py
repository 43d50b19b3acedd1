"""Records who deleted, pruned, imported or changed keys, and how much, before and after the action.

An action's `begun` entry is in the file before anything is done; its `done` or `failed` entry is
there before the caller gets the answer. So if the process is killed at any moment, a confirmed
action has both entries, and one whose outcome is unknown has the first. Entries are JSON, one per
line, each appended by one write (O_APPEND), so several processes may share the file.

The audit log names the operating system's user who ran a command.
"""

import asyncio
import errno
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import orjson

from app.auth.caller import SERVICE, caller
from app.errors import AuditUnavailable
from app.log_config import current_request_id
from app.settings import Settings

logger = logging.getLogger(__name__)

OWNER_ONLY = 0o600


class Audit:
    """Appends to a file, or logs without one. With `syncs`, each entry is flushed to disk first."""

    def __init__(self, path: Path | None = None, *, syncs: bool = True) -> None:
        self._path = path
        self._syncs = syncs

    @asynccontextmanager
    async def action(self, name: str, **what: object) -> AsyncIterator[dict[str, object]]:
        """Record the enclosed action. The block adds to the yielded dictionary what its outcome
        should say.

        Raise AuditUnavailable before anything is done if the file cannot be written, and afterwards
        if only the outcome cannot be written; then the caller gets no confirmation.
        """
        base = {
            "action": name,
            "action_id": uuid.uuid4().hex,
            "key_id": caller.get().key_id,
            "request_id": current_request_id(),
            **what,
        }
        await self._append(base | {"event": "begun"})
        outcome: dict[str, object] = {}
        try:
            yield outcome
        except BaseException as error:
            cause = getattr(error, "code", type(error).__name__)
            self._write(base | {"event": "failed", "error": cause, **outcome})
            raise
        await self._append(base | {"event": "done", **outcome})

    async def _append(self, entry: Mapping[str, object]) -> None:
        if self._path is None:
            self._write(entry)
        else:  # the disk may take milliseconds
            await asyncio.to_thread(self._write, entry)

    def _write(self, entry: Mapping[str, object]) -> None:
        if self._path is None:
            logger.info("audit", extra={"audit": entry})
            return
        line = orjson.dumps({"at": time.time(), **entry}) + b"\n"
        try:
            self._write_line(self._path, line)
        except OSError as error:
            raise AuditUnavailable(
                f"The audit log cannot be written ({os.strerror(error.errno or 0)}): free the "
                "disk or correct MEMORY_AUDIT_FILE."
            ) from error

    def _write_line(self, path: Path, line: bytes) -> None:
        """Append a line. The file is opened for each: entries are rare, and files get rotated."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(path, flags, OWNER_ONLY)
        try:
            if _ends_within_a_line(descriptor):
                line = b"\n" + line
            if os.write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, "short write")
            if self._syncs:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _ends_within_a_line(descriptor: int) -> bool:
    """Return whether a full disk or a crash left half an entry behind."""
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def audit_of_command(settings: Settings) -> Audit:
    """Return the audit log of a command, and make the command's user the caller."""
    act_as_user()
    return Audit(settings.audit_file, syncs=settings.audit_fsync)


def act_as_user() -> None:
    """Make the operating system's user the caller."""
    caller.set(replace(SERVICE, key_id=f"command of uid {os.getuid()}"))
