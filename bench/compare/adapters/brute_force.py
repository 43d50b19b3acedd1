"""numpy, in this process: what any database is measured against."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.compare.adapter import Adapter
from bench.recall import TOP_K, unit


class BruteForce(Adapter):
    """A matrix for each agent; every vector is compared."""

    name = "numpy"
    way = "in process"
    index = "none: every vector of the agent is compared"

    def __init__(self) -> None:
        self._rows: dict[int, NDArray[np.int64]] = {}
        self._units: dict[int, NDArray[np.float32]] = {}

    def start(self, folder: Path, dimension: int) -> None:
        """Do nothing: there is nothing to start."""

    def load(self, vectors: NDArray[np.float32], agents: NDArray[np.int64]) -> None:
        """Sort the memories by agent."""
        for agent in np.unique(agents):
            rows = np.flatnonzero(agents == agent)
            self._rows[int(agent)] = rows
            self._units[int(agent)] = unit(vectors[rows])

    def client(self) -> "BruteForce":
        """Return the engine itself: reading needs no connection."""
        return self

    def search(self, vector: NDArray[np.float32], agent: int) -> Sequence[int]:
        """Return the exact answer."""
        similarity = self._units[agent] @ (vector / np.linalg.norm(vector))
        count = min(TOP_K, len(similarity))
        nearest = np.argpartition(-similarity, count - 1)[:count]
        ordered = nearest[np.argsort(-similarity[nearest])]
        return [int(row) for row in self._rows[agent][ordered]]
