"""How much a learner may draw of what its agents have stored."""

from collections.abc import Callable

from coinswarm_memory.errors import CoinswarmError, InvalidRows


class TooFewInserts(CoinswarmError, TimeoutError):
    """The learner is ahead of the agents: nothing may be drawn until they have stored more."""


class RateLimiter:
    """Keeps the ratio of experiences drawn to experiences stored.

    Nothing is drawn below `min_size` stored. With `samples_per_insert`, each stored experience may
    be drawn that many times on average, plus `slack` draws in all (Cassirer et al. 2021, Reverb,
    section 3.3). `count` is what is stored now. What it grows by counts as stored, and what is
    deleted is not subtracted.
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
        self._population = 0
        self.drawn = 0

    def may_draw(self, size: int) -> bool:
        """Return whether this many may be drawn. Counts what is stored only if that decides."""
        if not self._allows(size):
            self._count_inserts(self._count())
        return self._allows(size)

    def drew(self, size: int, population: int | None = None) -> None:
        """Record a draw, and how many there were to draw from, if that is what is stored now."""
        self.drawn += size
        if population is not None:
            self._count_inserts(population)

    def _count_inserts(self, population: int) -> None:
        self._inserted += max(0, population - self._population)
        self._population = population

    def _allows(self, size: int) -> bool:
        size = min(size, self._population)  # a batch has no more than there are
        if self._inserted < self._min_size:
            return False
        if self._per_insert is None:
            return True
        return self.drawn + size <= self._inserted * self._per_insert + self._slack
