"""What the agents ask in the benchmark of the read path's stages."""

import random
from collections import deque
from collections.abc import Callable, Mapping
from functools import cache

import orjson

from bench.load.closed_loop import HttpRequest, Load, post
from bench.studies._batches import SEED, agent_name, as_base64, memory, random_vectors

AGENTS = 10
MEMORIES = 1000
TOP_K = 10
POOL = 20_000
"""Prepared questions. Twice what the cache keeps: when they come round, the first is forgotten."""
WRITE_SHARE = 0.05
REPEAT_SHARE = 0.30
REPEATED_FROM = 50
"""A repeated question is one of this many latest ones."""
BURST = 5
"""Clients that ask the same question at the same moment."""

SEARCH, STORE = "search", "store"


@cache
def _questions() -> list[HttpRequest]:
    vectors = random_vectors(SEED - 1, POOL)
    return [
        post(
            "/v1/episodic/search",
            orjson.dumps(
                {
                    "agent_id": agent_name(number % AGENTS),
                    "state_vector": as_base64(vector),
                    "top_k": TOP_K,
                }
            ),
            kind=SEARCH,
        )
        for number, vector in enumerate(vectors)
    ]


@cache
def _stores() -> list[HttpRequest]:
    return [
        post(
            "/v1/episodic",
            orjson.dumps(memory(agent_name(number % AGENTS), number, as_base64(vector))),
            kind=STORE,
        )
        for number, vector in enumerate(random_vectors(SEED - 2, 1000))
    ]


def prepare_requests() -> None:
    """Make all requests, so that it is not done while the load runs."""
    _questions()
    _stores()


class Workload:
    """The requests to one service. Each service goes through the same ones in the same order."""

    def __init__(self) -> None:
        self._random = random.Random(SEED)
        self._next = 0
        self._latest: deque[HttpRequest] = deque(maxlen=REPEATED_FROM)

    def distinct(self) -> HttpRequest:
        """Return a question that the service does not remember."""
        self._next = (self._next + 1) % POOL
        return _questions()[self._next]

    def mixed(self) -> HttpRequest:
        """Return a store, a repeated question or a new one."""
        drawn = self._random.random()
        if drawn < WRITE_SHARE:
            return self._random.choice(_stores())
        if drawn < WRITE_SHARE + REPEAT_SHARE and self._latest:
            return self._random.choice(self._latest)
        question = self.distinct()
        self._latest.append(question)
        return question


def _distinct(workload: Workload, agents: int) -> list[Load]:
    return [Load(workload.distinct) for _ in range(agents)]


def _mixed(workload: Workload, agents: int) -> list[Load]:
    return [Load(workload.mixed) for _ in range(agents)]


def _bursts(workload: Workload, agents: int) -> list[Load]:
    size = min(BURST, agents)
    return [Load(workload.distinct, connections=size) for _ in range(agents // size)]


WORKLOADS: Mapping[str, Callable[[Workload, int], list[Load]]] = {
    "distinct": _distinct,
    "mixed": _mixed,
    "bursts": _bursts,
}
