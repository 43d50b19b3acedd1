"""LanceDB, in this process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.compare.adapter import HNSW_EF_CONSTRUCTION, HNSW_EFS, HNSW_M, Adapter, agent_name
from bench.recall import TOP_K


class _Client:
    def __init__(self, table: Any, ef: int | None) -> None:
        self._table = table
        self._ef = ef

    def search(self, vector: NDArray[np.float32], agent: int) -> Sequence[int]:
        found = (
            self._table.search(vector)
            .where(f"agent = '{agent_name(agent)}'", prefilter=True)
            .distance_type("cosine")
            .ef(self._ef)
            .select(["row", "_distance"])
            .limit(TOP_K)
            .to_list()
        )
        return [int(hit["row"]) for hit in found]


class LanceDb(Adapter):
    """A table on disk with its HNSW index and a bitmap index on the agent."""

    name = "LanceDB"
    way = "in process"
    index = f"IVF_HNSW_SQ, M {HNSW_M}, bitmap index on the agent"
    ef = HNSW_EFS[0]

    def start(self, folder: Path, dimension: int) -> None:
        """Create a database in the folder."""
        import lancedb  # noqa: PLC0415

        self._database = lancedb.connect(folder / "lance")

    def load(self, vectors: NDArray[np.float32], agents: NDArray[np.int64]) -> None:
        """Store one Arrow table, then build the indexes."""
        import pyarrow as pa  # noqa: PLC0415

        flat = pa.array(vectors.reshape(-1))
        columns = {
            "row": pa.array(np.arange(len(vectors))),
            "agent": pa.array([agent_name(int(agent)) for agent in agents]),
            "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        }
        self._table = self._database.create_table("memories", pa.table(columns))
        self._table.create_scalar_index("agent", index_type="BITMAP")
        self._table.create_index(
            metric="cosine",
            index_type="IVF_HNSW_SQ",
            num_partitions=1,
            m=HNSW_M,
            ef_construction=HNSW_EF_CONSTRUCTION,
        )

    def client(self) -> _Client:
        """Return the table itself."""
        return _Client(self._table, self.ef)
