"""Whether the answers were right: recall@10 against exact brute force.

A hit counts when its own distance, computed here from the stored vector, is not above that of the
true k-th neighbour. So equal distances count as equal, and a memory that was stored while the
question was in progress neither helps nor harms.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TOP_K = 10

TOLERANCE = 1e-5
"""float32 sums in another order differ by about 1e-7 a component."""

_BLOCK = 256


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors (n, d) scaled to length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = (vectors / lengths).astype(np.float32)
    return scaled


def distances(stored: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return cosine distances (0 same, 2 opposite) of `stored` (n, d) to `query` (d,)."""
    (direction,) = unit(query[np.newaxis])
    found: NDArray[np.float32] = 1.0 - unit(stored) @ direction
    return found


def kth_distances(
    stored: NDArray[np.float32], queries: NDArray[np.float32], k: int = TOP_K
) -> NDArray[np.float32]:
    """Return (q,): the distance of each query's true k-th neighbour, or of the last."""
    directions, asked = unit(stored), unit(queries)
    place = min(k, len(stored)) - 1
    parts = []
    for start in range(0, len(asked), _BLOCK):
        block = 1.0 - asked[start : start + _BLOCK] @ directions.T
        parts.append(np.partition(block, place, axis=1)[:, place])
    found: NDArray[np.float32] = np.concatenate(parts)
    return found


def recall_of(
    stored: NDArray[np.float32],
    query: NDArray[np.float32],
    answer: Sequence[int],
    kth_distance: float,
    k: int = TOP_K,
) -> float:
    """Return the share of true neighbours in `answer`, row numbers into `stored` (n, d).

    A row given twice counts once.
    """
    wanted = min(k, len(stored))
    rows = sorted(set(answer))
    if not rows:
        return 0.0
    near = distances(stored[rows], query) <= kth_distance + TOLERANCE
    return min(int(near.sum()), wanted) / wanted
