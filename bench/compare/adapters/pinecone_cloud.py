"""Pinecone, which runs in its own cloud only."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.compare.adapter import TOP_K, Adapter, CannotRun, agent_name, batches

BATCH = 200
"""A request may have 2 MB."""

READY_TIMEOUT_S = 300.0


class _Client:
    def __init__(self, index: Any) -> None:
        self._index = index

    def search(self, vector: NDArray[np.float32], agent: int) -> Sequence[int]:
        found = self._index.query(
            vector=vector.tolist(), top_k=TOP_K, filter={"agent": {"$eq": agent_name(agent)}}
        )
        return [int(match["id"]) for match in found["matches"]]


class Pinecone(Adapter):
    """An empty index of your own at COMPARE_PINECONE_HOST; its vectors are deleted afterwards."""

    name = "Pinecone"
    way = "cloud, pinecone"
    index = "Pinecone's own, filter on the agent"

    def __init__(self) -> None:
        self._key = ""
        self._host = ""
        self._is_ours = False

    def start(self, folder: Path, dimension: int) -> None:
        """Connect to the index. Refuses one that holds vectors: they would be deleted."""
        key = os.environ.get("COMPARE_PINECONE_API_KEY")
        host = os.environ.get("COMPARE_PINECONE_HOST")
        if not key or not host:
            raise CannotRun("no account: set COMPARE_PINECONE_API_KEY and COMPARE_PINECONE_HOST")
        self._key, self._host = key, host
        if self._count():
            raise CannotRun("the index at COMPARE_PINECONE_HOST is not empty: give an empty one")
        self._is_ours = True

    def load(self, vectors: NDArray[np.float32], agents: NDArray[np.int64]) -> None:
        """Vectors; returns when the index counts them all."""
        index = self._connect()
        for rows in batches(len(vectors), BATCH):
            index.upsert(
                vectors=[
                    {
                        "id": str(row),
                        "values": vectors[row].tolist(),
                        "metadata": {"agent": agent_name(int(agents[row]))},
                    }
                    for row in range(rows.start, rows.stop)
                ]
            )
        give_up_at = time.monotonic() + READY_TIMEOUT_S
        while self._count() < len(vectors):
            if time.monotonic() > give_up_at:
                raise CannotRun("Pinecone did not count all vectors within five minutes")
            time.sleep(1)

    def client(self) -> _Client:
        """A connection."""
        return _Client(self._connect())

    def stop(self) -> None:
        """Delete what was stored."""
        if self._is_ours:
            self._connect().delete(delete_all=True)

    def _connect(self) -> Any:
        from pinecone import Pinecone as Cloud  # noqa: PLC0415

        return Cloud(api_key=self._key).Index(host=self._host)

    def _count(self) -> int:
        return int(self._connect().describe_index_stats()["total_vector_count"])
