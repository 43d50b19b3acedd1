"""How unusual a state is: a conformal p-value among the memory's own states.

A reference is a memory that was drawn, with its distance to the nearest memory whose outcome was
known at the reference's own time: what a question at that time would have seen. A question's
novelty is the share of references that saw something nearer, counting the question as one of them.
For an ordinary state it is uniform between 0 and 1 (Vovk, Gammerman, Shafer 2005).
"""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

REFERENCES = 128
"""References for a question: the p-value moves in steps of 1/129."""

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def p_value(references: Sequence[float], nearest: float) -> float:
    """Return (1 + number of references that are nearer) / (1 + number of references).

    `references` ascend. Never 0; without references 1, because there is nothing to compare with.
    """
    return (1 + bisect_left(references, nearest)) / (1 + len(references))


def tickets(numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a lottery ticket for each number, always the same one (splitmix64).

    Those with the smallest tickets are drawn. A memory keeps its ticket, so that what is stored
    later changes no draw among what was known before.
    """
    with np.errstate(over="ignore"):
        z = numbers.astype(np.uint64) * _MULTIPLIER
        z = (z ^ (z >> np.uint64(30))) * _MIX[0]
        z = (z ^ (z >> np.uint64(27))) * _MIX[1]
        found: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return found
