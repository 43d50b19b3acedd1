"""The ways to ask the same memories: a replica, redis-py, the service, Qdrant Edge and faiss.

Each is asked with and without a filter on the regime, and answers with row numbers.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray

from bench.data import Moments
from bench.studies._raw_redis import search_command
from coinswarm_memory import Agent, Recall, Replica

TOP_K = 10

Ask = Callable[[NDArray[np.float32], bool], list[int]]
"""Of a state and whether to filter: the rows of the nearest, nearest first."""


def of_client(side: Agent | Replica, regime: str) -> Ask:
    """Ask with the client's `recall`, of an agent over HTTP or of a replica."""
    recall: Callable[..., Recall] = side.recall

    def ask(state: NDArray[np.float32], is_filtered: bool) -> list[int]:
        options = {"regime": regime} if is_filtered else {}
        return [int(hit.id) for hit in recall(state, k=TOP_K, **options)]

    return ask


def of_redis(client: redis.Redis, agent: str, regime: str) -> Ask:
    """Ask the agent's index with redis-py's synchronous client."""
    index = f"episodic_memory_idx:{{{agent}}}"
    prefix = len(f"episodic:{{{agent}}}:")

    def ask(state: NDArray[np.float32], is_filtered: bool) -> list[int]:
        command = list(search_command(index, state.tobytes(), TOP_K))
        if is_filtered:
            command[2] = str(command[2]).replace("*", f"@regime:{{{regime}}}", 1)
        reply: Any = client.execute_command(*command)  # type: ignore[no-untyped-call]
        return [int(key[prefix:]) for key in reply[1::2]]

    return ask


def of_faiss(moments: Moments, regime: str) -> Ask:
    """Ask faiss's flat index on one thread."""
    import faiss  # noqa: PLC0415 - of the packages to compare with

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(moments.vectors.shape[1])
    index.add(unit(moments.vectors))
    chosen = np.flatnonzero(moments.regimes == regime)
    parameters = faiss.SearchParameters(sel=faiss.IDSelectorBatch(chosen))

    def ask(state: NDArray[np.float32], is_filtered: bool) -> list[int]:
        given = {"params": parameters} if is_filtered else {}
        _, rows = index.search(unit(state[None]), TOP_K, **given)
        found: list[int] = rows[0].tolist()
        return found

    return ask


def of_qdrant(moments: Moments, regime: str, folder: Path) -> tuple[Ask, Ask]:
    """Ask Qdrant's engine in process: as it comes, with HNSW, and set to be exact."""
    import qdrant_edge as q  # noqa: PLC0415 - of the packages to compare with

    folder.mkdir()
    shard = q.EdgeShard.create(
        str(folder),
        q.EdgeConfig(
            vectors=q.EdgeVectorParams(size=moments.vectors.shape[1], distance=q.Distance.Cosine)
        ),
    )
    operation = q.UpdateOperation
    shard.update(operation.create_field_index("regime", q.PayloadSchemaType.Keyword))
    for start in range(0, len(moments), 1000):
        rows = range(start, min(start + 1000, len(moments)))
        points = [
            q.Point(row, moments.vectors[row].tolist(), {"regime": str(moments.regimes[row])})
            for row in rows
        ]
        shard.update(operation.upsert_points(points))
    shard.optimize()
    condition = q.FieldCondition("regime", match=q.MatchValue(regime))

    def ask(is_exact: bool, state: NDArray[np.float32], is_filtered: bool) -> list[int]:
        request = q.SearchRequest(
            query=q.Query.Nearest(state.tolist()),
            limit=TOP_K,
            filter=q.Filter(must=[condition]) if is_filtered else None,
            params=q.SearchParams(exact=is_exact),
            with_payload=True,
        )
        return [int(point.id) for point in shard.search(request)]

    return partial(ask, False), partial(ask, True)


def most_common(regimes: NDArray[np.str_]) -> str:
    """Return the regime to filter on: the one of most memories."""
    names, counts = np.unique(regimes, return_counts=True)
    return str(names[counts.argmax()])


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors scaled to length one."""
    scaled: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return scaled


def recall_of(
    found: Mapping[int, list[int]],
    moments: Moments,
    states: NDArray[np.float32],
    allowed: NDArray[np.bool_],
) -> float:
    """Return the share of rows that are as near as the exact nearest, in double precision.

    `allowed`: which rows pass the filter.
    """
    table = moments.vectors.astype("f8")
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    right = 0
    for number, rows in found.items():
        state = states[number].astype("f8")
        similar = table @ state
        nearest = np.sort(similar[allowed])[-TOP_K:]
        right += int(np.count_nonzero(similar[rows] >= nearest[0] - 1e-6 * np.linalg.norm(state)))
    return right / (TOP_K * len(found))
