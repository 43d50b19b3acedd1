"""Moments as the JSON that the service stores, under ids that are the same in every run."""

import base64
from collections.abc import Iterator
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from demo.market import Windows


class Episode(TypedDict):
    """The body of one memory for `POST /v1/episodic/batch`."""

    id: str
    agent_id: str
    product_id: str
    regime: str
    state_vector: str
    action: str
    reward: float
    timestamp: float
    outcome_at: float
    terminal: bool
    metadata: dict[str, float]


def agent_of(product: str) -> str:
    """Return the agent that trades `product`: each product has its own."""
    return f"agent_{product}"


def episode_id(windows: Windows, row: int) -> str:
    """Return product and day, such as `AAPL-1999-03-05`, so that a second run stores nothing
    twice."""
    return f"{windows.products[windows.product_index[row]]}-{windows.dates[row]}"


def encode_vector(vector: NDArray[np.float32]) -> str:
    """Return (256,) float32 as base64 of little-endian bytes, a third of the size of JSON
    numbers."""
    return base64.b64encode(vector.astype("<f4", copy=False).tobytes()).decode("ascii")


def episode(windows: Windows, row: int) -> Episode:
    """Return the memory of one moment.

    `terminal` is true: the position is closed at the horizon, so nothing follows. Returns are
    fractions, rounded to a millionth so that every machine sends the same content.
    """
    product = windows.products[windows.product_index[row]]
    return Episode(
        id=episode_id(windows, row),
        agent_id=agent_of(product),
        product_id=product,
        regime=str(windows.regimes[row]),
        state_vector=encode_vector(windows.vectors[row]),
        action=str(windows.actions[row]),
        reward=round(float(windows.rewards[row]), 6),
        timestamp=float(windows.timestamps[row]),
        outcome_at=float(windows.outcome_at[row]),
        terminal=True,
        metadata={
            "horizon_days": windows.horizon_days,
            "forward_return": round(float(windows.forward_returns[row]), 6),
        },
    )


def agent_batches(windows: Windows, size: int) -> list[Iterator[list[Episode]]]:
    """Return each product's memories in order of time, in lists of up to `size`.

    Each list is built on demand, because all of them as JSON take several times the memory of the
    vectors.
    """
    if size < 1:
        raise ValueError("a batch holds at least 1 memory")
    return [
        _batches(windows, np.flatnonzero(windows.product_index == product), size)
        for product in range(len(windows.products))
    ]


def _batches(windows: Windows, rows: NDArray[np.intp], size: int) -> Iterator[list[Episode]]:
    for start in range(0, len(rows), size):
        yield [episode(windows, int(row)) for row in rows[start : start + size]]
