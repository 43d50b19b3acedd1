"""A service that is filled with a workload, and the questions to ask it."""

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import numpy as np
import orjson
from numpy.typing import NDArray

from app import keys
from app.contract.requests import MAX_BATCH
from bench.compare.asking import PREPARING, first_answers, recall
from bench.compare.dataset import Dataset
from bench.compare.http_search import HttpSearch, HttpSearchClient
from bench.data import DataKind, Moments, Workload
from bench.load.closed_loop import LoadFailed, post
from bench.load.http_load import SEARCH_PATH, HttpLoad
from bench.service import PROGRAM, RunningService, running_service
from bench.studies._batches import DIMENSION, as_base64, connect, memory, store_batch
from bench.studies._hotpath_rows import SERVICE, Side
from bench.studies._raw_redis import Command, search_command

WARM_UP_S = 60
CLIENTS_OF_WORKERS = 8
"""Enough for connections to each of several workers. One worker is asked by one client: beside
others, a small copy leaves a part of the questions to Redis."""
COPIED_SHARE = 0.95
ANSWERS_WITHOUT_REDIS = re.compile(
    r"^(?:memory_resident_answers|redis_memory_cache_hits)_total (\S+)$", re.MULTILINE
)

CHECKED = PREPARING
"""Questions whose answers are held against brute force."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A filled service and the questions to ask it, over HTTP and as Redis is asked."""

    kind: DataKind
    workers: int
    service: RunningService
    agents: tuple[str, ...]
    load: HttpLoad
    commands: list[Command]
    side: Side

    def warm_up(self) -> None:
        """Ask until copies in the service answer, as they do for agents that are asked often.

        Raises LoadFailed if they do not after a while.
        """
        clients = 1 if self.workers == 1 else CLIENTS_OF_WORKERS
        for _ in range(WARM_UP_S):
            before = self._without_redis()
            figures = self.load.run(self.service.port, clients, seconds=1)
            if self._without_redis() - before >= COPIED_SHARE * figures.rate:
                return
        raise LoadFailed("the service does not answer from copies")

    def _without_redis(self) -> float:
        """Return how many searches the service has answered from copies or from its cache.

        The caches of two workers hold all questions after a while.
        """
        metrics = httpx.get(f"{self.service.url}/metrics", timeout=60).text
        return sum(map(float, ANSWERS_WITHOUT_REDIS.findall(metrics)))

    def forget(self) -> None:
        """Make the service's cache forget: store one memory for each agent, and delete it."""
        with httpx.Client(base_url=self.service.url, timeout=60) as client:
            for agent_id in self.agents:
                item = memory(agent_id, 0, [1.0] * DIMENSION) | {"id": "forget"}
                client.post("/v1/episodic", json=item).raise_for_status()
                client.delete(f"/v1/episodic/{agent_id}/forget").raise_for_status()


def filled_service(
    kind: DataKind,
    work: Workload,
    data: Dataset,
    *,
    order: NDArray[np.int64],
    workers: int,
    top_k: int,
    stack: ExitStack,
    program: Sequence[str] = PROGRAM,
    settings: Mapping[str, str] = {},
) -> Subject:
    """Run until `stack` ends. `data` is `work` in this order: question i by its askers[i]."""
    service = stack.enter_context(
        running_service({"MEMORY_WORKERS": str(workers), **settings}, program=program)
    )
    for agent_id, moments in zip(work.agent_ids, work.stored, strict=True):
        _store(service.port, agent_id, moments)

    def body(vector: NDArray[np.float32], agent: int) -> bytes:
        asked = {"agent_id": work.agent_ids[agent], "top_k": top_k}
        return orjson.dumps(asked | {"state_vector": as_base64(vector)})

    row_of = np.argsort(order)
    first_row = {
        agent_id: sum(map(len, work.stored[:number]))
        for number, agent_id in enumerate(work.agent_ids)
    }

    def rows(answer: bytes) -> list[int]:
        """Return the rows of an answer. Memories have no ids: their number is in the metadata."""
        return [
            int(row_of[first_row[hit["agent_id"]] + hit["metadata"]["step"]])
            for hit in orjson.loads(answer)["memories"]
        ]

    questions = list(zip(data.asked, data.askers.tolist(), strict=True))
    client = HttpSearchClient(HttpSearch(service.port, SEARCH_PATH, body, rows))
    load = HttpLoad(SEARCH_PATH, [body(vector, agent) for vector, agent in questions])
    stack.callback(load.close)
    return Subject(
        kind=kind,
        workers=workers,
        service=service,
        agents=work.agent_ids,
        load=load,
        commands=[
            search_command(keys.episodic_index(work.agent_ids[agent]), vector.tobytes(), top_k)
            for vector, agent in questions
        ],
        side=Side(
            kind=kind,
            way=SERVICE,
            what="Coinswarm Memory: FLAT for each agent (exact)",
            recall=recall(data, first_answers(client, data)),
        ),
    )


def _store(port: int, agent_id: str, moments: Moments) -> None:
    stored = [memory(agent_id, i, as_base64(v)) for i, v in enumerate(moments.vectors)]
    with connect(port) as connection:
        for start in range(0, len(stored), MAX_BATCH):
            some = stored[start : start + MAX_BATCH]
            request = post("/v1/episodic/batch", orjson.dumps({"memories": some}), kind="batch")
            store_batch(connection, request, created=len(some))
