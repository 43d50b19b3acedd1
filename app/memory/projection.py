"""Projects vectors to two dimensions by principal components.

Pearson (1901), https://doi.org/10.1080/14786440109462720. The same states always give the same
picture; it is a rotation of their space into which a new state can be projected at any time.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAME = 1e-13
"""States whose directions vary by less, in squared length, differ by float32's rounding only."""

BLOCK = 8192
"""Rows that are worked on at a time: 8 MB at 256 dimensions."""


@dataclass(frozen=True, slots=True)
class Projection:
    """`points` is (n, 2) float32. `explained` is the share of the variance along each axis."""

    points: NDArray[np.float32]
    explained: tuple[float, float]


def principal_components(states: NDArray[np.float32]) -> Projection:
    """Project states of shape (n, d) onto the two directions along which they differ most.

    Each state counts by its direction alone, as for the cosine distance. Each axis points so that
    its largest component is positive, which prevents flips. Changes `states`.
    """
    count, dimension = states.shape
    if not count:
        return Projection(np.zeros((0, 2), np.float32), (0.0, 0.0))
    scatter, centre = _scatter(states)
    variances, directions = np.linalg.eigh(scatter)
    axes = directions[:, ::-1][:, :2]
    if dimension == 1:
        axes = np.column_stack([axes, np.zeros(1)])
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.where(axes[largest, [0, 1]] < 0, -1.0, 1.0)
    points = states @ axes.astype(np.float32)
    points -= (centre @ axes).astype(np.float32)
    return Projection(points, _shares(variances, count))


def _shares(variances: NDArray[np.float64], count: int) -> tuple[float, float]:
    """Return the parts of all variance along the last two axes; 0 if the states do not differ."""
    variances = np.maximum(variances, 0.0)
    total = float(variances.sum())
    if total <= count * SAME:
        return 0.0, 0.0
    first, second = (*(variances[::-1][:2] / total).tolist(), 0.0)[:2]
    return first, min(second, 1.0 - first)  # together not more than all of it


def _scatter(states: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale each row to length one and shift it, in place. Return the scatter matrix and the mean
    of the rows as they are then.

    Products are float32, sums over blocks are double. The shift by the first block's mean keeps
    what is squared small, so that float32 loses nothing that a picture shows.
    """
    count, dimension = states.shape
    products, sums = np.zeros((dimension, dimension)), np.zeros(dimension)
    shift: NDArray[np.float32] | None = None
    for start in range(0, count, BLOCK):
        block = states[start : start + BLOCK]
        lengths = np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64))
        block *= (1.0 / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)[:, None]
        if shift is None:
            shift = block.mean(axis=0, dtype=np.float64).astype(np.float32)
        block -= shift
        products += block.T @ block
        sums += block.sum(axis=0, dtype=np.float64)
    centre = sums / count
    return products - count * np.outer(centre, centre), centre
