"""faiss, in this process: an exact index for each agent."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.compare.adapter import Adapter
from bench.recall import TOP_K, unit


class FaissFlat(Adapter):
    """IndexFlatIP over vectors of length 1, which is the cosine."""

    name = "faiss"
    way = "in process"
    index = "IndexFlatIP for each agent (exact)"

    def __init__(self) -> None:
        self._indexes: dict[int, Any] = {}
        self._rows: dict[int, NDArray[np.int64]] = {}

    def start(self, folder: Path, dimension: int) -> None:
        """Use one thread for a search: the callers are the concurrency."""
        import faiss  # noqa: PLC0415

        faiss.omp_set_num_threads(1)

    def load(self, vectors: NDArray[np.float32], agents: NDArray[np.int64]) -> None:
        """Build an index for each agent."""
        import faiss  # noqa: PLC0415

        for agent in np.unique(agents):
            rows = np.flatnonzero(agents == agent)
            index = faiss.IndexFlatIP(vectors.shape[1])
            index.add(unit(vectors[rows]))
            self._indexes[int(agent)] = index
            self._rows[int(agent)] = rows

    def client(self) -> "FaissFlat":
        """Return the engine itself: reading needs no connection."""
        return self

    def search(self, vector: NDArray[np.float32], agent: int) -> Sequence[int]:
        """Return the exact answer."""
        _, found = self._indexes[agent].search(unit(vector[np.newaxis]), TOP_K)
        return [int(row) for row in self._rows[agent][found[0][found[0] >= 0]]]
