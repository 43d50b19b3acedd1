"""Whether a replica may be promoted with what its master had, and so must have what is confirmed.

A master that hung wakes up while one of its replicas is promoted. The others follow it until they
are told to follow the new one, a second later, and acknowledge writes that the new one never gets.
So WAIT for one replica is not enough where roles move by themselves: every replica that follows has
to acknowledge. One that was promoted follows no more, and the write is not confirmed. WAIT "does
not make Redis a strongly consistent store": https://redis.io/docs/latest/commands/wait/
"""

import errno
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

COUNTS_FOR_S = 3.0
"""How long a replica counts after it was last seen to follow. It may have been promoted instead of
lost; Sentinels tell everybody of that within two seconds."""


class Candidacy:
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
