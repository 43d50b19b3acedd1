"""What a master was seen to have, for the moment at which a failover has lost some of it.

A promoted replica tells how far it had followed the old master. What this process confirmed beyond
that point is gone, and these are its keys: reported, never written again by the service itself,
for whoever stored it may have changed his mind since.


Whether a replica may be promoted with what its master had, and so must have what is confirmed.

A master that hung wakes up while one of its replicas is promoted. The others follow it until they
are told to follow the new one, a second later, and acknowledge writes that the new one never gets.
So WAIT for one replica is not enough where roles move by themselves: every replica that follows has
to acknowledge. One that was promoted follows no more, and the write is not confirmed. WAIT "does
not make Redis a strongly consistent store": https://redis.io/docs/latest/commands/wait/

The token of a write: which data set, and how far along it, a node must be to show it.

The replication id and offset "identify an exact version of the dataset":
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
"""Replicas are milliseconds behind; this is half a second of a busy service, some 3 MB at most."""
REMEMBERED_HISTORIES = 16
"""A node begins a new one with each start and promotion."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """What a failover lost of a master.

    `offset_bytes` of the history that the new one followed are gone at least. `keys` are those of
    this process's confirmed writes in them, and in what the master began after that history.
    `is_whole` False: there were more writes than are remembered.
    """

    offset_bytes: int
    keys: tuple[str, ...]
    is_whole: bool


class WriteJournal:
    """A node's histories as a master, in their order: how far each was, and confirmed writes.

    Kept apart from the node's status: an old master that is back as a replica tells of the new
    one's history only.
    """

    def __init__(self) -> None:
        self._reached: dict[str, int] = {}
        self._writes: deque[tuple[str, int, Keys]] = deque(maxlen=REMEMBERED_WRITES)

    def has_reached(self, history: str, offset: int) -> None:
        """The node was seen as a master that was so far."""
        self._reached[history] = max(offset, self._reached.get(history, offset))
        if len(self._reached) > REMEMBERED_HISTORIES:
            del self._reached[next(iter(self._reached))]

    def note(self, token: str, keys: Sequence[str | bytes]) -> None:
        """These keys were written, deleted or found written by a write with this token."""
        history, _, offset = token.partition(":")
        self.has_reached(history, int(offset))
        self._writes.append((history, int(offset), tuple(keys)))

    def beyond(self, history: str, offset: int) -> Discarded | None:
        """What a node lacks that followed this history until this offset; None: the history is
        none that this node was seen to have."""
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
lost; Sentinels tell everybody of that within two seconds."""


class Promotability:
    """Of one node: which master's history it follows, as far as it was looked at."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._history = ""
        self._seen_at_s = -math.inf
        self._judged_for: str | None = None

    def is_of(self, history: str) -> bool:
        """Whether it may be promoted to go on with the data of this replication id.

        Not known is yes: it was not looked at since the master has this id.
        """
        return self._history == history or self._judged_for != history

    def saw(self, info: Mapping[str, Any], history: str) -> None:
        """What the node says in INFO replication; `history`: the master's replication id."""
        self._judged_for = history
        follows = info["role"] == "slave" and info["master_link_status"] == "up"
        # Who was promoted keeps the history until then as its second one.
        own = info["master_replid"] if follows else info["master_replid2"]
        if history and own == history and (follows or info["role"] == "master"):
            self._history, self._seen_at_s = history, self._clock()
        else:
            self._lapse()

    def missed(self, error: BaseException, history: str) -> None:
        """The node could not be looked at. One whose process is gone was not promoted."""
        self._judged_for = history
        if is_refused(error):
            self._history = ""
        else:
            self._lapse()

    def _lapse(self) -> None:
        """By looks alone: a process that was too busy to look must not forget anybody."""
        if self._clock() - self._seen_at_s > COUNTS_FOR_S:
            self._history = ""


def is_refused(error: BaseException | None) -> bool:
    """Whether nobody listens at the node's address, by this error or what caused it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ECONNREFUSED, errno.ENOENT}:
            return True
        error = error.__cause__ or error.__context__
    return False


INFO_COMMAND = (b"INFO", "replication")
"""As bytes, redis-py hands the reply out as it came: its parser takes four times as long."""

_ID = re.compile(rb"^master_replid:(\w+)", re.MULTILINE)
_OFFSET = re.compile(rb"^master_repl_offset:(\d+)", re.MULTILINE)


def is_replica(info: object) -> bool:
    """Whether the node that gave this reply to INFO_COMMAND is no master."""
    return isinstance(info, bytes) and b"role:slave" in info


def token_of(info: object) -> str:
    """`<replication id>:<offset>` of a master, from its reply to INFO_COMMAND."""
    text = info if isinstance(info, bytes) else b""
    replication_id, offset = _ID.search(text), _OFFSET.search(text)
    if replication_id is None or offset is None:
        raise foreign.InvalidResponse("INFO replication lacks master_replid")
    return f"{replication_id[1].decode()}:{offset[1].decode()}"
