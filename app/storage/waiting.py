"""Waits until a write is as safe as its request asks for: WAIT and WAITAOF.

Both wait for what their own connection wrote last, so they go out right behind the write, in the
same pipeline. A store that finds its memory there writes nothing, and WAIT alone would answer at
once that all is well; the PUBLISH (in a cluster a small key) that goes out before it in any case is
part of what replicas get, so that everything up to this moment is waited for.
https://redis.io/docs/latest/commands/wait/ and https://redis.io/docs/latest/commands/waitaof/
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from app.durability import Durability
from app.errors import DurabilityNotReached
from app.metrics import DURABILITY_NOT_REACHED

MARGIN_MS = 130
"""Of the request's time, for the answer: Redis looks a tenth of a second late at its clock."""
LOOK_AGAIN_MS = 500
"""How long one WAIT counts on a replica that may have been lost since it was last looked at."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What is sent behind a write, and what its reply must show.

    `more_ms` are left for another one that may ask for fewer replicas.
    """

    level: Literal["replicated", "fsynced"]
    replicas: int
    timeout_ms: int
    more_ms: int = 0

    @property
    def command(self) -> tuple[str | int, ...]:
        """For Redis."""
        if self.level == "replicated":
            return ("WAIT", self.replicas, self.timeout_ms)
        return ("WAITAOF", 1, self.replicas, self.timeout_ms)

    def is_reached(self, reply: Any) -> bool:
        """Whether Redis's reply to the command says that it is so."""
        if isinstance(reply, Exception):
            return False
        if self.level == "replicated":
            return bool(reply >= self.replicas)
        own, others = reply
        return bool(own >= 1 and others >= self.replicas)

    def check(self, reply: Any) -> None:
        """Raise DurabilityNotReached unless it is reached."""
        if self.is_reached(reply):
            return
        cause = None
        if isinstance(reply, Exception):
            reached, cause = "nothing is known of it", reply
        elif self.level == "replicated":
            reached = f"{reply} of {self.replicas} replicas have it"
        else:
            own, others = reply
            where = "is" if own else "is not"
            reached = (
                f"it {where} on the master's disk, and on that of {others} of "
                f"{self.replicas} replicas"
            )
        DURABILITY_NOT_REACHED.labels(self.level).inc()
        raise DurabilityNotReached(
            f"The write may exist, but it is not {self.level} ({reached}): repeating the same "
            "request is safe.",
            retry_after_s=1,
        ) from cause


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

        `candidates`: replicas that may be promoted in its place; all of them are asked for
        (app/storage/candidacy.py).
        """
        if level == "memory":
            return None
        if level == "fsynced":
            # In one piece: of what is written behind it each would wait for the next second.
            return Wait(level, max(self.fsynced_replicas, candidates), self._timeout_ms())
        return self._replicated(candidates, self._timeout_ms())

    def longer(self, wait: Wait, candidates: int) -> Wait:
        """The next one within the time that is left to one at `replicated`."""
        return self._replicated(candidates, min(wait.more_ms, self._timeout_ms()))

    def _replicated(self, candidates: int, timeout_ms: int) -> Wait:
        may_be_fewer = candidates > self.replicas
        first_ms = min(timeout_ms, LOOK_AGAIN_MS) if may_be_fewer else timeout_ms
        replicas = max(self.replicas, candidates)
        return Wait("replicated", replicas, first_ms, timeout_ms - first_ms)

    def _timeout_ms(self) -> int:
        left_s = self.remaining_s()
        if left_s is None:
            return self.timeout_ms
        # 0 would wait for ever.
        return max(1, min(self.timeout_ms, int(left_s * 1000) - MARGIN_MS))


NO_WAITING = Waiting(replicas=1, fsynced_replicas=0, timeout_ms=1000, remaining_s=lambda: None)
"""For commands, which write at the level `memory`."""
