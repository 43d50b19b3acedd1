"""How far a question has to reach for memories that do not overlap, and which it will choose.

With outcomes that overlap, two hundred memories that count may be among two thousand that do not.
Their distances, from vectors that the process keeps, tell which they are; the engine is then asked
about those alone. Wherever rounding could change the choice, nothing is foreseen.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

from app.memory.estimates.history import Fact

DOUBT = 1e-6
"""Cosine distances of float32 vectors that differ by less may be in another order elsewhere."""

UNCERTAIN: tuple[list[int], int] = [], 0

STEPS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
PATIENCE = 16

FAR = 3.0
"""A factor. Nearer than that, reading a few more from the engine takes less."""


class Reach:
    """How many candidates a question asks for, for each memory that it wants.

    In steps, so that the same question again is the same to the cache. It grows at once, and
    shrinks after PATIENCE questions that needed less. Equal states leave much in doubt: after a
    choice that could not be foreseen, as many questions do without.
    """

    def __init__(self) -> None:
        self.factor = 2.0
        self.is_near = False
        """Whether a copy in the process answered lately."""
        self._most: tuple[object, int] = None, 0
        self._has_overlapped = False
        self._most_lately = 0.0
        self._lately = 0
        self._in_doubt = 0

    @property
    def overlaps(self) -> bool:
        """Return whether questions lately met memories that overlap."""
        return self._has_overlapped or self.factor > STEPS[0]

    @property
    def foresees(self) -> bool:
        """Return whether it takes less to foresee what a question chooses."""
        return self.factor >= FAR and not self._in_doubt

    def note_near(self, *, is_near: bool) -> None:
        """Note whether a copy in the process answered."""
        self.is_near = is_near

    def most(self, state: object, count: Callable[[], int]) -> int:
        """Return how many memories can be apart in time. It is counted if the state changed."""
        if self._most[0] != state:
            self._most = state, count()
        return self._most[1]

    def doubt(self) -> None:
        """Note that a choice could not be foreseen."""
        self._in_doubt = PATIENCE

    def note(self, needed: float, *, has_overlapped: bool) -> None:
        """Note how many candidates a question had to examine for each that it wanted, and whether
        any overlapped."""
        self._has_overlapped = has_overlapped
        power = 1.0
        while needed > STEPS[-1] * power:
            power *= 4.0
        step = next(step * power for step in STEPS if step * power >= needed)
        self._most_lately = max(self._most_lately, step)
        self._lately += 1
        self._in_doubt = max(0, self._in_doubt - 1)
        if step >= self.factor or self._lately >= PATIENCE:
            self.factor = self._most_lately
            self._most_lately, self._lately = 0.0, 0


def foreseen(
    facts: Iterable[Fact],
    distances: Sequence[float],
    *,
    known_at: float,
    count: int,
    is_whole: bool,
) -> tuple[list[int], int]:
    """Return the positions of the first `count` that do not overlap, and how many were examined.

    `facts` are those of the nearest memories, and `is_whole` says that there are no others.
    UNCERTAIN if rounding could change that.
    """
    taken: dict[str, tuple[list[float], list[float], list[float]]] = {}
    at: list[int] = []
    found, before, missing = 0, -1.0, count
    for i, (fact, distance) in enumerate(zip(facts, distances, strict=True)):
        _, product, _, _, known_since, _, (start, end) = fact
        if known_since > known_at:
            continue
        if not missing:
            return (at, found) if distance - before > DOUBT else UNCERTAIN
        found += 1
        same = taken.get(product)
        if same is None:
            taken[product] = [start], [end], [distance]
        else:
            starts, ends, nearer = same
            place = bisect_left(starts, end)
            if place and ends[place - 1] > start:
                if distance - nearer[place - 1] <= DOUBT:
                    return UNCERTAIN
                before = distance
                continue
            starts.insert(place, start)
            ends.insert(place, end)
            nearer.insert(place, distance)
        at.append(i)
        missing -= 1
        if not missing and distance - before <= DOUBT:
            return UNCERTAIN
        before = distance
    return (at, found) if is_whole and not missing else UNCERTAIN
