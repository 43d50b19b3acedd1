"""Projects vectors to two dimensions by principal components.

Pearson (1901), https://doi.org/10.1080/14786440109462720. The same states always give the same
picture; it is a rotation of their space into which a new state can be projected at any time.
"""

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 8192
"""Rows converted to doubles at a time: 16 MB at 256 dimensions."""


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
    _shorten(states)
    centre = states.mean(axis=0, dtype=np.float64)
    scatter = np.zeros((dimension, dimension))
    for start in range(0, count, BLOCK):
        block = states[start : start + BLOCK].astype(np.float64) - centre
        scatter += block.T @ block
    variances, directions = np.linalg.eigh(scatter)
    axes = directions[:, ::-1][:, :2]
    if dimension == 1:
        axes = np.column_stack([axes, np.zeros(1)])
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.where(axes[largest, [0, 1]] < 0, -1.0, 1.0)
    points = (states - centre.astype(np.float32)) @ axes.astype(np.float32)
    total = max(float(variances.sum()), sys.float_info.min)
    shares = [max(0.0, float(variance)) / total for variance in variances[::-1][:2]]
    first, second = (*shares, 0.0)[:2]
    return Projection(points, (first, second))


def _shorten(states: NDArray[np.float32]) -> None:
    """Scale each row to length one, in place."""
    for start in range(0, len(states), BLOCK):
        block = states[start : start + BLOCK]
        lengths = np.linalg.norm(block.astype(np.float64), axis=1, keepdims=True)
        block /= np.where(lengths > 0, lengths, 1.0).astype(np.float32)
