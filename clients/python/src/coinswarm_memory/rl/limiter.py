"""How much a learner may draw of what its agents have stored."""

from collections.abc import Callable

from coinswarm_memory.errors import CoinswarmError, InvalidRows


class TooFewInserts(CoinswarmError, TimeoutError):
    """The learner is ahead of the agents: nothing may be drawn until they have stored more."""


class RateLimiter:
    """Keeps the ratio of experiences drawn to experiences stored.

    Nothing is drawn below `min_size` stored. With `samples_per_insert`, each stored experience may
    be drawn that many times on average, plus `slack` draws in all (Cassirer et al. 2021, Reverb,
    section 3.3). `count` is what is stored now; what is deleted is not subtracted.
    """

    def __init__(
        self,
        count: Callable[[], int],
        *,
        min_size: int = 1,
        samples_per_insert: float | None = None,
        slack: float | None = None,
    ) -> None:
        if samples_per_insert is not None and not samples_per_insert > 0.0:
            raise InvalidRows(f"samples_per_insert must be above 0: {samples_per_insert}")
        self._count = count
        self._min_size = max(1, min_size)
        self._per_insert = samples_per_insert
        self._slack = slack if slack is not None else self._min_size * (samples_per_insert or 0.0)
        self._inserted = 0
        self.drawn = 0

    def may_draw(self, size: int) -> bool:
        """Return whether this many may be drawn. Counts what is stored only if that decides."""
        if not self._allows(size):
            self._inserted = max(self._inserted, self._count())
        return self._allows(size)

    def drew(self, size: int, population: int) -> None:
        """Record a draw, and how many there were to draw from."""
        self.drawn += size
        self._inserted = max(self._inserted, population)

    def _allows(self, size: int) -> bool:
        if self._inserted < self._min_size:
            return False
        if self._per_insert is None:
            return True
        return self.drawn + size <= self._inserted * self._per_insert + self._slack
