"""When to ask again, and after what pause."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from coinswarm_memory.errors import CoinswarmError, ServiceProblem, ServiceUnreachable

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0


def is_worth_repeating(error: CoinswarmError, *, repeatable: bool) -> bool:
    """Return whether the same request may succeed later without storing twice.

    `repeatable`: the request does the same when it is carried out twice.
    """
    if isinstance(error, ServiceProblem):
        return error.retryable
    if isinstance(error, ServiceUnreachable):
        return repeatable or not error.was_sent
    return False


@dataclass(slots=True)
class Attempts:
    """The attempts of one call, which end at `give_up_at` by `clock`."""

    clock: Callable[[], float]
    give_up_at: float
    random: Callable[[float, float], float] = field(default=random.uniform)
    failed: int = 0

    def remaining_s(self) -> float:
        """Return the seconds that are left."""
        return self.give_up_at - self.clock()

    def pause_s(self, error: CoinswarmError, *, repeatable: bool) -> float | None:
        """Return how long to wait before the next attempt. Returns None to give up.

        The pause doubles from one attempt to the next, is shortened at random so that many callers
        do not come back at once, and is never shorter than the service's Retry-After.
        """
        if not is_worth_repeating(error, repeatable=repeatable):
            return None
        longest = min(FIRST_PAUSE_S * 2**self.failed, LONGEST_PAUSE_S)
        self.failed += 1
        asked = getattr(error, "retry_after_s", None) or 0.0
        pause_s = max(asked, self.random(longest / 2, longest))
        return pause_s if pause_s < self.remaining_s() else None
