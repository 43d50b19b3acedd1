"""This service, over HTTP."""

import base64
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from app.storage.schema import EPISODIC_HNSW
from bench.compare.adapter import Adapter, agent_name
from bench.compare.http_search import HttpSearch, HttpSearchClient
from bench.data import Moments, Workload
from bench.filling import fill
from bench.recall import TOP_K
from bench.service import RunningService, running_service


def _body(vector: NDArray[np.float32], agent: int) -> bytes:
    return orjson.dumps(
        {
            "agent_id": agent_name(agent),
            "top_k": TOP_K,
            "state_vector": base64.b64encode(vector.tobytes()).decode("ascii"),
        }
    )


def _rows(answer: bytes) -> Sequence[int]:
    return [int(memory["id"]) for memory in orjson.loads(answer)["memories"]]


class _MemoryService(Adapter):
    way = "server on loopback, HTTP"
    has_cache = True
    _layout: str

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._service: RunningService | None = None

    def start(self, folder: Path, dimension: int) -> None:
        """Run `python -m app serve` with its embedded Redis."""
        settings = {"MEMORY_LAYOUT": self._layout, "MEMORY_DIMENSION": str(dimension)}
        self._service = self._stack.enter_context(running_service(settings))

    def load(self, vectors: NDArray[np.float32], agents: NDArray[np.int64]) -> None:
        """Store batches over HTTP; ids are row numbers."""
        assert self._service is not None
        stored, names, ids = [], [], []
        for agent in np.unique(agents):
            rows = np.flatnonzero(agents == agent)
            names.append(agent_name(int(agent)))
            ids.append([str(row) for row in rows])
            stored.append(_moments(vectors[rows]))
        fill(
            self._service.url,
            Workload(tuple(names), tuple(stored), stored[0]),
            lambda _: None,
            ids=ids,
        )

    def client(self) -> HttpSearchClient:
        """Open a connection."""
        return HttpSearchClient(self.http_search())

    def http_search(self) -> HttpSearch:
        """Return the request that its users send."""
        assert self._service is not None
        return HttpSearch(self._service.port, "/v1/episodic/search", _body, _rows)

    def process_ids(self) -> list[int]:
        """Return the service and its Redis."""
        if self._service is None:
            return []
        return [i for ids in self._service.processes().values() for i in ids]

    def stop(self) -> None:
        """End the service."""
        self._stack.close()


class MemoryServicePerAgent(_MemoryService):
    """The default."""

    name = "Coinswarm Memory"
    index = "per_agent: FLAT for each agent (exact)"
    _layout = "per_agent"


class MemoryServiceShared(_MemoryService):
    """The specification's layout."""

    name = "Coinswarm Memory, shared layout"
    index = (
        f"shared: HNSW, M {EPISODIC_HNSW.m}, EF {EPISODIC_HNSW.ef_runtime}, filter in the engine"
    )
    _layout = "shared"


def _moments(vectors: NDArray[np.float32]) -> Moments:
    count = len(vectors)
    return Moments(
        vectors=vectors,
        products=np.full(count, "any"),
        regimes=np.full(count, "any"),
        actions=np.full(count, "hold"),
        rewards=np.zeros(count),
        timestamps=np.arange(count, dtype=np.float64),
    )
