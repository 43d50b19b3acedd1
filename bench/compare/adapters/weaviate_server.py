"""A Weaviate server by its address."""

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
    TOP_K,
    Adapter,
    CannotRun,
    agent_name,
    batches,
)

COLLECTION = "CoinswarmCompare"


class _Client:
    def __init__(self, collection: Any) -> None:
        self._collection = collection

    def search(self, vector: NDArray[np.float32], agent: int) -> Sequence[int]:
        from weaviate.classes.query import Filter  # noqa: PLC0415

        found = self._collection.query.near_vector(
            near_vector=vector.tolist(),
            limit=TOP_K,
            filters=Filter.by_property("agent").equal(agent_name(agent)),
            return_properties=["row"],
        )
        return [int(item.properties["row"]) for item in found.objects]


class Weaviate(Adapter):
    """A server at COMPARE_WEAVIATE_URL; its collection `CoinswarmCompare` is replaced."""

    name = "Weaviate"
    way = "server, weaviate-client"
    index = f"HNSW, M {HNSW_M}, EF {HNSW_EFS[-1]}, filter on the agent"

    def __init__(self) -> None:
        self._clients: list[Any] = []

    def start(self, folder: Path, dimension: int) -> None:
        """An empty collection."""
        if not os.environ.get("COMPARE_WEAVIATE_URL"):
            raise CannotRun("no server: set COMPARE_WEAVIATE_URL (and COMPARE_WEAVIATE_API_KEY)")
        from weaviate.classes.config import (  # noqa: PLC0415
            Configure,
            DataType,
            Property,
            Tokenization,
            VectorDistances,
        )

        client = self._connect()
        client.collections.delete(COLLECTION)
        client.collections.create(
            COLLECTION,
            vector_config=Configure.Vectors.self_provided(
                vector_index_config=Configure.VectorIndex.hnsw(
                    distance_metric=VectorDistances.COSINE,
                    max_connections=HNSW_M,
                    ef_construction=HNSW_EF_CONSTRUCTION,
                    ef=HNSW_EFS[-1],
                )
            ),
            properties=[
                Property(name="row", data_type=DataType.INT),
                Property(name="agent", data_type=DataType.TEXT, tokenization=Tokenization.FIELD),
            ],
        )

    def load(self, vectors: NDArray[np.float32], agents: NDArray[np.int64]) -> None:
        """Batches; an object that is refused ends the run."""
        from weaviate.classes.data import DataObject  # noqa: PLC0415

        collection = self._clients[0].collections.use(COLLECTION)
        for rows in batches(len(vectors)):
            result = collection.data.insert_many(
                [
                    DataObject(
                        properties={"row": row, "agent": agent_name(int(agents[row]))},
                        vector=vectors[row].tolist(),
                    )
                    for row in range(rows.start, rows.stop)
                ]
            )
            if result.has_errors:
                raise CannotRun(f"Weaviate refused objects: {next(iter(result.errors.values()))}")

    def client(self) -> _Client:
        """A connection."""
        return _Client(self._connect().collections.use(COLLECTION))

    def stop(self) -> None:
        """Remove the collection."""
        if self._clients:
            self._clients[0].collections.delete(COLLECTION)
        for client in self._clients:
            client.close()

    def _connect(self) -> Any:
        import weaviate  # noqa: PLC0415
        from weaviate.classes.init import Auth  # noqa: PLC0415

        url = os.environ["COMPARE_WEAVIATE_URL"]
        key = os.environ.get("COMPARE_WEAVIATE_API_KEY")
        if key:
            client = weaviate.connect_to_weaviate_cloud(url, auth_credentials=Auth.api_key(key))
        else:
            host, _, port = url.removeprefix("http://").partition(":")
            client = weaviate.connect_to_local(host=host, port=int(port or 8080))
        self._clients.append(client)
        return client
