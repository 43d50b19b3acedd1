"""What a master was known to have: the basis for tokens, for promotion, and for what a failover
lost.

A promoted replica reports how far it had followed the old master. What this process confirmed
beyond that point is lost. The keys of those writes are reported; the service never writes them
again itself, because their owners may have changed them since.

Promotable replicas must acknowledge a write before it is confirmed. A master that hung may wake up
while one of its replicas is being promoted. The other replicas follow it until they are told to
follow the new one, a second later, and acknowledge writes that the new one never gets. So WAIT for
one replica is not enough if roles move by themselves: every replica that follows must acknowledge.
A promoted one no longer follows, so the write is not confirmed. WAIT "does not make Redis a
strongly consistent store": https://redis.io/docs/latest/commands/wait/

The token of a write names the data set and how far along it a node must be to show the write. The
replication id and offset "identify an exact version of the dataset":
https://redis.io/docs/latest/operate/oss_and_stack/management/replication/
"""

import errno
import math
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis.exceptions as foreign

Keys = tuple[str | bytes, ...]

REMEMBERED_WRITES = 5000
"""Replicas are milliseconds behind. This is half a second of a busy service, at most about 3 MB."""
REMEMBERED_HISTORIES = 16
"""A node begins a new history with each start and promotion."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """What a failover lost of a master's data.

    At least `offset_bytes` of the history that the new master followed are lost. `keys` are those
    of this process's confirmed writes in them, and in later histories of the old master. `is_whole`
    is False if there were more writes than are remembered.
    """

    offset_bytes: int
    keys: tuple[str, ...]
    is_whole: bool


class WriteJournal:
    """A node's histories as a master, in order: how far each reached, and confirmed writes.

    Kept apart from the node's status, because an old master that is back as a replica reports only
    the new master's history.
    """

    def __init__(self) -> None:
        self._reached: dict[str, int] = {}
        self._writes: deque[tuple[str, int, Keys]] = deque(maxlen=REMEMBERED_WRITES)

    def has_reached(self, history: str, offset: int) -> None:
        """Record that the node was seen as a master at this offset."""
        self._reached[history] = max(offset, self._reached.get(history, offset))
        if len(self._reached) > REMEMBERED_HISTORIES:
            del self._reached[next(iter(self._reached))]

    def note(self, token: str, keys: Sequence[str | bytes]) -> None:
        """Record that a write with this token wrote, deleted or found these keys."""
        history, _, offset = token.partition(":")
        self.has_reached(history, int(offset))
        self._writes.append((history, int(offset), tuple(keys)))

    def beyond(self, history: str, offset: int) -> Discarded | None:
        """Return what a node lacks that followed this history up to this offset.

        None if this node was never seen to have the history.
        """
        if history not in self._reached:
            return None
        histories = list(self._reached)
        later = histories[histories.index(history) + 1 :]
        lost = [
            keys for of, at, keys in self._writes if of in later or (of == history and at > offset)
        ]
        written = (key for keys in lost for key in keys)
        named = dict.fromkeys(k.decode() if isinstance(k, bytes) else k for k in written)
        is_whole = len(lost) < REMEMBERED_WRITES
        return Discarded(max(0, self._reached[history] - offset), tuple(named), is_whole)


COUNTS_FOR_S = 3.0
"""How long a replica counts after it was last seen to follow. It may have been promoted instead of
lost; Sentinels tell everybody so within two seconds."""


class Promotability:
    """Which master's history a node follows, as far as it was checked."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._history = ""
        self._seen_at_s = -math.inf
        self._judged_for: str | None = None

    def is_of(self, history: str) -> bool:
        """Return whether the node may be promoted and continue this replication id's data.

        True also if unknown, that is, if the node was not checked since the master has this id.
        """
        return self._history == history or self._judged_for != history

    def saw(self, info: Mapping[str, Any], history: str) -> None:
        """Record the node's INFO replication. `history` is the master's replication id."""
        self._judged_for = history
        follows = info["role"] == "slave" and info["master_link_status"] == "up"
        # A promoted node keeps its earlier history as its second one.
        own = info["master_replid"] if follows else info["master_replid2"]
        if history and own == history and (follows or info["role"] == "master"):
            self._history, self._seen_at_s = history, self._clock()
        else:
            self._lapse()

    def missed(self, error: BaseException, history: str) -> None:
        """Record that the node could not be checked. If its process is gone, it is no master."""
        self._judged_for = history
        if is_refused(error):
            self._history = ""
        else:
            self._lapse()

    def _lapse(self) -> None:
        """Forget the node's history only by checks: a process may be too busy to check."""
        if self._clock() - self._seen_at_s > COUNTS_FOR_S:
            self._history = ""


def is_refused(error: BaseException | None) -> bool:
    """Return whether nobody listens at the node's address, by this error or its causes."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ECONNREFUSED, errno.ENOENT}:
            return True
        error = error.__cause__ or error.__context__
    return False


INFO_COMMAND = (b"INFO", "replication")
"""As bytes, because redis-py then returns the reply unparsed; its parser takes four times as
long."""

_ID = re.compile(rb"^master_replid:(\w+)", re.MULTILINE)
_OFFSET = re.compile(rb"^master_repl_offset:(\d+)", re.MULTILINE)


def is_replica(info: object) -> bool:
    """Return whether the node that sent this reply to INFO_COMMAND is a replica."""
    return isinstance(info, bytes) and b"role:slave" in info


def token_of(info: object) -> str:
    """Return a master's `<replication id>:<offset>` from its reply to INFO_COMMAND."""
    text = info if isinstance(info, bytes) else b""
    replication_id, offset = _ID.search(text), _OFFSET.search(text)
    if replication_id is None or offset is None:
        raise foreign.InvalidResponse("INFO replication lacks master_replid")
    return f"{replication_id[1].decode()}:{offset[1].decode()}"
