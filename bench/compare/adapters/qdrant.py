"""Qdrant: its engine in this process, and a server by its address."""

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
FULL_SCAN_KILOBYTES = 10_000
"""Qdrant's default: a filter that leaves less than this is answered exactly."""


class _EdgeClient:
    def __init__(self, shard: Any, ef: int | None) -> None:
        self._shard = shard
        self._ef = ef

    def search(self, vector: NDArray[np.float32], agent: int) -> Sequence[int]:
        import qdrant_edge as q  # noqa: PLC0415

        match = q.MatchValue(agent_name(agent))
        request = q.SearchRequest(
            query=q.Query.Nearest(vector.tolist()),
            limit=TOP_K,
            filter=q.Filter(must=[q.FieldCondition("agent", match=match)]),
            params=q.SearchParams(hnsw_ef=self._ef),
        )
        return [int(point.id) for point in self._shard.search(request)]


class QdrantEdge(Adapter):
    """`qdrant-edge-py`: the engine of the server, without the server."""

    name = "Qdrant Edge"
    way = "engine in process"
    package = "qdrant-edge-py"
    index = f"HNSW, M {HNSW_M}, keyword index on the agent"
    ef = HNSW_EFS[0]

    def __init__(self) -> None:
        self._shard: Any = None

    def start(self, folder: Path, dimension: int) -> None:
        """Create a shard on disk."""
        import qdrant_edge as q  # noqa: PLC0415

        (folder / "shard").mkdir()
        self._shard = q.EdgeShard.create(
            str(folder / "shard"),
            q.EdgeConfig(
                vectors=q.EdgeVectorParams(size=dimension, distance=q.Distance.Cosine),
                hnsw_config=q.HnswIndexConfig(
                    HNSW_M, HNSW_EF_CONSTRUCTION, FULL_SCAN_KILOBYTES, on_disk=False
                ),
            ),
        )

    def load(self, vectors: NDArray[np.float32], agents: NDArray[np.int64]) -> None:
        """Store points, then build the indexes."""
        import qdrant_edge as q  # noqa: PLC0415

        operation = q.UpdateOperation
        self._shard.update(operation.create_field_index("agent", q.PayloadSchemaType.Keyword))
        for rows in batches(len(vectors)):
            points = [
                q.Point(row, vectors[row].tolist(), {"agent": agent_name(int(agents[row]))})
                for row in range(rows.start, rows.stop)
            ]
            self._shard.update(operation.upsert_points(points))
        self._shard.optimize()

    def client(self) -> _EdgeClient:
        """Return the shard itself."""
        return _EdgeClient(self._shard, self.ef)

    def stop(self) -> None:
        """Close the shard."""
        if self._shard is not None:
            self._shard.close()


class _ServerClient:
    def __init__(self, client: Any, ef: int | None) -> None:
        self._client = client
        self._ef = ef

    def search(self, vector: NDArray[np.float32], agent: int) -> Sequence[int]:
        from qdrant_client import models as m  # noqa: PLC0415

        match = m.MatchValue(value=agent_name(agent))
        found = self._client.query_points(
            COLLECTION,
            query=vector.tolist(),
            limit=TOP_K,
            query_filter=m.Filter(must=[m.FieldCondition(key="agent", match=match)]),
            search_params=m.SearchParams(hnsw_ef=self._ef),
            with_payload=False,
        )
        return [int(point.id) for point in found.points]


class QdrantServer(Adapter):
    """A server at COMPARE_QDRANT_URL; its collection `coinswarm_compare` is replaced."""

    name = "Qdrant"
    way = "server, qdrant-client"
    index = QdrantEdge.index
    ef = HNSW_EFS[0]

    def __init__(self) -> None:
        self._address: dict[str, Any] = {}

    def start(self, folder: Path, dimension: int) -> None:
        """Create an empty collection."""
        url = os.environ.get("COMPARE_QDRANT_URL")
        if not url:
            raise CannotRun("no server: set COMPARE_QDRANT_URL (and COMPARE_QDRANT_API_KEY)")
        from qdrant_client import models as m  # noqa: PLC0415

        key = os.environ.get("COMPARE_QDRANT_API_KEY")
        self._address = {"url": url, "api_key": key}
        client = self._connect()
        client.delete_collection(COLLECTION)
        client.create_collection(
            COLLECTION,
            vectors_config=m.VectorParams(size=dimension, distance=m.Distance.COSINE),
            hnsw_config=m.HnswConfigDiff(m=HNSW_M, ef_construct=HNSW_EF_CONSTRUCTION),
        )
        client.create_payload_index(COLLECTION, "agent", m.PayloadSchemaType.KEYWORD)

    def load(self, vectors: NDArray[np.float32], agents: NDArray[np.int64]) -> None:
        """Store points; return when the collection is green."""
        import time  # noqa: PLC0415

        from qdrant_client import models as m  # noqa: PLC0415

        client = self._connect()
        for rows in batches(len(vectors)):
            client.upsert(
                COLLECTION,
                m.Batch(
                    ids=list(range(rows.start, rows.stop)),
                    vectors=vectors[rows].tolist(),
                    payloads=[{"agent": agent_name(int(agent))} for agent in agents[rows]],
                ),
            )
        while client.get_collection(COLLECTION).status != m.CollectionStatus.GREEN:
            time.sleep(0.2)

    def client(self) -> _ServerClient:
        """Open a connection."""
        return _ServerClient(self._connect(), self.ef)

    def stop(self) -> None:
        """Remove the collection."""
        if self._address:
            self._connect().delete_collection(COLLECTION)

    def _connect(self) -> Any:
        from qdrant_client import QdrantClient  # noqa: PLC0415

        return QdrantClient(**self._address, prefer_grpc=True)
