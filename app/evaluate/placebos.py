"""A memory that knows nothing: its own, with the rewards moved to other times.

The rewards of each product and action are rotated: all move by the same share of their length, and
those pushed over the end come back at the beginning. What they are and how they follow each other
stays, and so do the neighbours of each question. Only what links a state to its reward is gone.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

SHORTEST, LONGEST = 0.1, 0.9
"""A smaller move, or one nearly round, would leave rewards near their states."""


def series(start: Floats, product: Rows, action: Rows) -> list[Rows]:
    """Return the rows of each product and action, in order of time."""
    order = np.lexsort((start, action, product))
    ends = (np.diff(product[order]) != 0) | (np.diff(action[order]) != 0)
    return np.split(order, np.flatnonzero(ends) + 1)


def rotations(rewards: Floats, parts: Sequence[Rows], *, count: int, seed: int) -> Iterator[Floats]:
    """Yield `count` placebos of the rewards (m,). `parts`: the rows of each series."""
    for share in np.random.default_rng(seed).uniform(SHORTEST, LONGEST, count):
        moved = rewards.copy()
        for rows in parts:
            moved[rows] = np.roll(rewards[rows], max(1, round(share * len(rows))))
        yield moved
