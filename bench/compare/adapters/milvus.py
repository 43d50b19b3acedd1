"""Milvus: Lite on this machine, and a server by its address."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.compare.adapter import (
    HNSW_EF_CONSTRUCTION,
    HNSW_EFS,
    HNSW_M,
    Adapter,
    CannotRun,
    agent_name,
    batches,
)
from bench.recall import TOP_K

COLLECTION = "coinswarm_compare"


class _Client:
    def __init__(self, client: Any, ef: int | None) -> None:
        self._client = client
        self._ef = ef

    def search(self, vector: NDArray[np.float32], agent: int) -> Sequence[int]:
        (hits,) = self._client.search(
            COLLECTION,
            data=[vector.tolist()],
            limit=TOP_K,
            filter=f'agent == "{agent_name(agent)}"',
            search_params={"metric_type": "COSINE", "params": {"ef": self._ef}},
        )
        return [int(hit["row"]) for hit in hits]


class _Milvus(Adapter):
    index = f"HNSW, M {HNSW_M}, filter on the agent"
    ef = HNSW_EFS[0]

    def __init__(self) -> None:
        self._address: dict[str, str] = {}
        self._client: Any = None

    def _uri(self, folder: Path) -> str:
        raise NotImplementedError

    def start(self, folder: Path, dimension: int) -> None:
        """Create an empty collection."""
        self._address = {"uri": self._uri(folder)}
        from pymilvus import DataType  # noqa: PLC0415

        self._address["token"] = os.environ.get("COMPARE_MILVUS_TOKEN", "")
        self._client = self._connect()
        if self._client.has_collection(COLLECTION):
            self._client.drop_collection(COLLECTION)
        schema = self._client.create_schema()
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
        schema.add_field("agent", DataType.VARCHAR, max_length=64)
        self._client.create_collection(COLLECTION, schema=schema)

    def load(self, vectors: NDArray[np.float32], agents: NDArray[np.int64]) -> None:
        """Store the rows, then build the index."""
        for rows in batches(len(vectors)):
            data = [
                {
                    "row": row,
                    "vector": vectors[row].tolist(),
                    "agent": agent_name(int(agents[row])),
                }
                for row in range(rows.start, rows.stop)
            ]
            self._client.insert(COLLECTION, data)
        self._client.flush(COLLECTION)
        index = self._client.prepare_index_params()
        index.add_index(
            "vector",
            index_type="HNSW",
            metric_type="COSINE",
            params={"M": HNSW_M, "efConstruction": HNSW_EF_CONSTRUCTION},
        )
        self._client.create_index(COLLECTION, index)
        self._client.load_collection(COLLECTION)

    def stop(self) -> None:
        """Remove the collection."""
        if self._client is not None:
            self._client.drop_collection(COLLECTION)
            self._client.close()

    def _connect(self) -> Any:
        from pymilvus import MilvusClient  # noqa: PLC0415

        return MilvusClient(**self._address)


class MilvusLite(_Milvus):
    """A file of `milvus-lite`, which pymilvus serves itself."""

    name = "Milvus Lite"
    way = "in process, pymilvus"

    def _uri(self, folder: Path) -> str:
        return str(folder / "milvus.db")

    def client(self) -> _Client:
        """Return the one client: a file has one owner."""
        return _Client(self._client, self.ef)

    def process_ids(self) -> list[int]:
        """Return the children in which pymilvus runs it, if there are any."""
        import psutil  # noqa: PLC0415

        children = psutil.Process().children(recursive=True)
        return [os.getpid(), *(child.pid for child in children)] if children else []


class MilvusServer(_Milvus):
    """A server at COMPARE_MILVUS_URI; its collection `coinswarm_compare` is replaced."""

    name = "Milvus"
    way = "server, pymilvus"

    def _uri(self, folder: Path) -> str:
        uri = os.environ.get("COMPARE_MILVUS_URI")
        if not uri:
            raise CannotRun("no server: set COMPARE_MILVUS_URI (and COMPARE_MILVUS_TOKEN)")
        return uri

    def client(self) -> _Client:
        """Open a connection."""
        return _Client(self._connect(), self.ef)
