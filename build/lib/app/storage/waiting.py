"""Waits until a write is as safe as its request asks for: WAIT and WAITAOF.

Both wait for what their own connection wrote last, so they go out right behind the write, in the
same pipeline. A store that finds its memory there writes nothing, and WAIT alone would answer at
once that all is well; the PUBLISH that goes out before it in any case is part of what replicas get,
so that everything up to this moment is waited for.
https://redis.io/docs/latest/commands/wait/ and https://redis.io/docs/latest/commands/waitaof/
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.durability import Durability
from app.errors import DurabilityNotReached
from app.metrics import DURABILITY_NOT_REACHED

MARGIN_MS = 130
"""Of the request's time, for the answer: Redis looks a tenth of a second late at its clock."""
LOOK_AGAIN_MS = 500
"""How long one WAIT counts on a replica that may have been lost since it was last looked at."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What is sent behind a write, and what its replies must show.

    `received`: how many replicas must have got the write; `on_disks`: how many must have it on
    their disks besides the master, None: no disk is waited for. `more_ms` are left for another one
    that may ask for fewer replicas.
    """

    received: int
    on_disks: int | None
    timeout_ms: int
    more_ms: int = 0

    @property
    def level(self) -> Durability:
        """What is reached with it."""
        return "replicated" if self.on_disks is None else "fsynced"

    @property
    def commands(self) -> list[tuple[str | int, ...]]:
        """For Redis, which does one after the other."""
        wait = ("WAIT", self.received, self.timeout_ms)
        if self.on_disks is None:
            return [wait]
        wait_disks = ("WAITAOF", 1, self.on_disks, self.timeout_ms)
        # Who has it on disk has received it. When the disks have it the others have it long since.
        rest_ms = min(self.timeout_ms, LOOK_AGAIN_MS)
        return [wait_disks, *([("WAIT", self.received, rest_ms)] if self._is_wider else [])]

    @property
    def _is_wider(self) -> bool:
        return self.on_disks is not None and self.received > self.on_disks

    def is_reached(self, replies: Sequence[Any]) -> bool:
        """Whether Redis's replies to the commands say that it is so."""
        if any(isinstance(reply, Exception) for reply in replies):
            return False
        if self.on_disks is None:
            return bool(replies[0] >= self.received)
        own, others = replies[0]
        has_disks = own >= 1 and others >= self.on_disks
        return bool(has_disks and (not self._is_wider or replies[1] >= self.received))

    def check(self, replies: Sequence[Any]) -> None:
        """Raise DurabilityNotReached unless it is reached."""
        if self.is_reached(replies):
            return
        cause = next((reply for reply in replies if isinstance(reply, Exception)), None)
        DURABILITY_NOT_REACHED.labels(self.level).inc()
        raise DurabilityNotReached(
            f"The write may exist, but it is not {self.level} ({self._told(replies, cause)}): "
            "repeating the same request is safe.",
            retry_after_s=1,
        ) from cause

    def _told(self, replies: Sequence[Any], cause: Exception | None) -> str:
        if cause is not None:
            return "nothing is known of it"
        received = f"of {self.received} replicas have it"
        if self.on_disks is None:
            return f"{replies[0]} {received}"
        own, others = replies[0]
        where = "is" if own else "is not"
        disks = f"it {where} on the master's disk, and on that of {others} of {self.on_disks}"
        return f"{disks} replicas" + (f"; {replies[1]} {received}" if self._is_wider else "")


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many replicas each level asks for at least, and for how long it is waited.

    `remaining_s` gives the seconds that the request has left, None: no limit.
    """

    replicas: int
    fsynced_replicas: int
    timeout_ms: int
    remaining_s: Callable[[], float | None]

    def wait(self, level: Durability, candidates: int = 0) -> Wait | None:
        """For a write to a master; None: nothing is waited for.

        `candidates`: replicas that may be promoted in its place; all of them must have received it
        (app/storage/candidacy.py).
        """
        if level == "memory":
            return None
        if level == "fsynced":
            # Two commands within the time. Not in pieces: of what is written behind the write each
            # would wait for the next second.
            whole_ms = self._timeout_ms()
            time_ms = whole_ms - LOOK_AGAIN_MS if whole_ms > 2 * LOOK_AGAIN_MS else whole_ms // 2
            received = max(self.fsynced_replicas, candidates)
            return Wait(received, self.fsynced_replicas, max(1, time_ms))
        return self._received(candidates, self._timeout_ms())

    def longer(self, wait: Wait, candidates: int) -> Wait:
        """The next one within the time that is left to one at `replicated`."""
        return self._received(candidates, min(wait.more_ms, self._timeout_ms()))

    def in_one_piece(self, replicas: int) -> Wait:
        """At `replicated`, for so many replicas."""
        return Wait(max(self.replicas, replicas), None, self._timeout_ms())

    def _received(self, candidates: int, timeout_ms: int) -> Wait:
        may_be_fewer = candidates > self.replicas
        first_ms = min(timeout_ms, LOOK_AGAIN_MS) if may_be_fewer else timeout_ms
        return Wait(max(self.replicas, candidates), None, first_ms, timeout_ms - first_ms)

    def _timeout_ms(self) -> int:
        left_s = self.remaining_s()
        if left_s is None:
            return self.timeout_ms
        # 0 would wait for ever.
        return max(1, min(self.timeout_ms, int(left_s * 1000) - MARGIN_MS))


NO_WAITING = Waiting(replicas=1, fsynced_replicas=0, timeout_ms=1000, remaining_s=lambda: None)
"""For commands, which write at the level `memory`."""
