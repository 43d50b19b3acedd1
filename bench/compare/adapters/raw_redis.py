"""Redis alone: redis-py and FT.SEARCH, without the service."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.compare.adapter import (
    HNSW_EF_CONSTRUCTION,
    HNSW_EFS,
    HNSW_M,
    Adapter,
    agent_name,
    batches,
)
from bench.recall import TOP_K
from bench.redis_node import RedisNode, running_redis

HEAD = ("TYPE", "FLOAT32", "DIM")


@dataclass(frozen=True, slots=True)
class _Clients:
    modules: ClassVar[tuple[str, ...]] = ("redis",)
    url: str
    ef: int | None

    def client(self) -> "_Client":
        from redis import Redis  # noqa: PLC0415

        return _Client(Redis.from_url(self.url, protocol=2), ef=self.ef)


class _Client:
    def __init__(self, redis: Any, *, ef: int | None) -> None:
        self._redis = redis
        self._ef = ef

    def search(self, vector: NDArray[np.float32], agent: int) -> Sequence[int]:
        name = agent_name(agent).replace("-", "\\-")
        query, index, runtime = "*", agent_name(agent), ""
        if self._ef is not None:
            query, index, runtime = f"(@agent:{{{name}}})", "shared", f"EF_RUNTIME {self._ef} "
        knn = f"[KNN {TOP_K} @v $q {runtime}AS d]"
        reply = self._redis.execute_command(
            *("FT.SEARCH", index, f"{query}=>{knn}", "RETURN", 1, "d"),
            *("SORTBY", "d", "LIMIT", 0, TOP_K, "PARAMS", 2, "q", vector.tobytes(), "DIALECT", 2),
        )
        return [int(key.rpartition(b":")[2]) for key in reply[1::2]]


class _RawRedis(Adapter):
    way = "server on loopback, redis-py"
    _is_shared: bool

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._node: RedisNode | None = None
        self._dimension = 0

    def start(self, folder: Path, dimension: int) -> None:
        """Start the Redis that the service would start."""
        self._node = self._stack.enter_context(running_redis())
        self._dimension = dimension

    def load(self, vectors: NDArray[np.float32], agents: NDArray[np.int64]) -> None:
        """Store pipelines of hashes in indexes that are there already."""
        redis = self._connect()
        for name in ["shared"] if self._is_shared else map(agent_name, np.unique(agents).tolist()):
            redis.execute_command(*self._create(name))
        for rows in batches(len(vectors)):
            pipeline = redis.pipeline(transaction=False)
            for row in range(rows.start, rows.stop):
                agent = agent_name(int(agents[row]))
                fields = {"v": vectors[row].tobytes(), "agent": agent}
                pipeline.hset(f"{agent}:{row}", mapping=fields)
            pipeline.execute()

    def client(self) -> _Client:
        """Open a connection."""
        return self.client_factory().client()

    def client_factory(self) -> _Clients:
        """Return how to connect to its address."""
        assert self._node is not None
        return _Clients(self._node.url, self.ef)

    def process_ids(self) -> list[int]:
        """Return the server."""
        return self._node.process_ids if self._node else []

    def stop(self) -> None:
        """End the server."""
        self._stack.close()

    def _create(self, name: str) -> list[str | int]:
        if self._is_shared:
            vector: list[str | int] = ["HNSW", 12, *HEAD, self._dimension]
            vector += ["DISTANCE_METRIC", "COSINE", "M", HNSW_M]
            vector += ["EF_CONSTRUCTION", HNSW_EF_CONSTRUCTION, "EF_RUNTIME", HNSW_EFS[0]]
            prefix = "agent-"
        else:
            vector = ["FLAT", 8, *HEAD, self._dimension]
            vector += ["DISTANCE_METRIC", "COSINE", "BLOCK_SIZE", 64]
            prefix = f"{name}:"
        # 12 and 8 count the arguments behind them.
        assert vector[1] == len(vector) - 2
        head: list[str | int] = ["FT.CREATE", name, "ON", "HASH", "PREFIX", 1, prefix, "SCHEMA"]
        return [*head, "v", "VECTOR", *vector, "agent", "TAG"]

    def _connect(self) -> Any:
        from redis import Redis  # noqa: PLC0415

        assert self._node is not None
        return Redis.from_url(self._node.url, protocol=2)


class RawRedisPerAgent(_RawRedis):
    """An exact index for each agent, as the service does it."""

    name = "Redis, an index for each agent"
    index = "FLAT for each agent (exact)"
    _is_shared = False


class RawRedisShared(_RawRedis):
    """One index and a filter, as the specification has it."""

    name = "Redis, one index"
    index = f"HNSW, M {HNSW_M}, filter in the engine"
    ef = HNSW_EFS[0]
    _is_shared = True
