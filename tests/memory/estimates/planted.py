"""Markets whose truth is known: what the statistics say can be compared with it.

States are vector autoregressions of order one, as market states are: each day is nearly the day
before. A day's reward is earned over the next HORIZON days, so rewards of neighbouring days share
most of their noise.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HORIZON = 5
INFORMATIVE = 8

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """states (days, dimension) float32; true_mean and reward (days,): reward of day t is known on
    day t + HORIZON, and its mean given the state is true_mean."""

    states: NDArray[np.float32]
    true_mean: Floats
    reward: Floats


def product(
    seed: int, *, days: int, dimension: int = 256, rho: float = 0.9, snr: float = 0.4
) -> Product:
    """One product. `rho`: how much of a state is that of the day before; `snr`: the standard
    deviation of the true mean over that of the noise, which is 1."""
    rng = np.random.default_rng(seed)
    shocks = rng.standard_normal((days, dimension)) * np.sqrt(1 - rho**2)
    states = np.empty_like(shocks)
    states[0] = rng.standard_normal(dimension)
    for day in range(1, days):
        states[day] = rho * states[day - 1] + shocks[day]
    true_mean = snr * states[:, :INFORMATIVE].sum(1) / np.sqrt(INFORMATIVE)
    paths = np.concatenate([[0.0], np.cumsum(rng.standard_normal(days + HORIZON))])
    at = np.arange(days)
    noise = (paths[at + HORIZON] - paths[at]) / np.sqrt(HORIZON)
    return Product(states.astype(np.float32), true_mean, true_mean + noise)


def cosine_distances(states: NDArray[np.float32], state: NDArray[np.float32]) -> Floats:
    """Return the cosine distance of each of `states` (n, d) from `state` (d,)."""
    lengths = np.linalg.norm(states, axis=1) * np.linalg.norm(state)
    found: Floats = (1.0 - states @ state / lengths).astype(np.float64)
    return found
