"""Latencies in figures: from raw samples, without buckets and without interpolation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CURVE_PERCENTS: tuple[float, ...] = (
    *(float(percent) for percent in range(0, 99)),
    *(99.0, 99.5, 99.9, 99.99, 100.0),
)
"""Where the distribution is kept for plots."""


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """`count` latencies in milliseconds. `curve_ms` stands at CURVE_PERCENTS."""

    count: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    curve_ms: tuple[float, ...]


def percentiles(samples: ArrayLike, percents: Sequence[float]) -> NDArray[np.float64]:
    """Return the smallest sample that at least this percentage of samples does not exceed.

    Always a value that was measured: with few samples a high percentile is the maximum, never a
    figure between two samples. Raises ValueError without samples.
    """
    values = np.asarray(samples, dtype=np.float64)
    if not values.size:
        raise ValueError("no samples: there is no percentile of nothing")
    found: NDArray[np.float64] = np.percentile(values, percents, method="inverted_cdf")
    return found


def summarise(latencies_ms: ArrayLike) -> LatencySummary:
    """Summarise the samples. Raises ValueError without any."""
    values = np.asarray(latencies_ms, dtype=np.float64)
    p50, p95, p99 = percentiles(values, (50, 95, 99))
    return LatencySummary(
        count=values.size,
        mean_ms=float(values.mean()),
        p50_ms=float(p50),
        p95_ms=float(p95),
        p99_ms=float(p99),
        max_ms=float(values.max()),
        curve_ms=tuple(float(v) for v in percentiles(values, CURVE_PERCENTS)),
    )
