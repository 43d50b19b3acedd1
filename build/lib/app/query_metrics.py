"""Counts and times the questions, by kind and agent, with a bounded number of agents.

The first agents that are heard of keep a name of their own, up to the limit; the others share the
label `other`. Worker processes share one list of the named ones, so the limit holds for all of
them together and a replaced worker goes on with the same names.
"""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Literal

from prometheus_client import Counter, Histogram

from app.metrics import QUERIES, QUERY_SECONDS

QueryType = Literal[
    "vector_similarity", "semantic_similarity", "range", "semantic_range", "estimate", "sample"
]
"""What is asked: search and query of either memory, estimates and samples of experiences."""

OTHER = "other"
SWARM = ""
"""Stands for an agent where the question is about the swarm's concepts."""

_LIST_NAME = "agents.txt"


class AgentLabels:
    """Which agents have a label of their own. `folder` is where other processes share the list."""

    def __init__(self, limit: int, folder: Path | None = None) -> None:
        self._limit = limit
        self._folder = folder
        self._named = {SWARM}
        self._is_full = limit == 0

    def label(self, agent_id: str) -> str:
        """The agent's name, or `other`."""
        if agent_id in self._named:
            return agent_id
        if not self._is_full:
            self._admit(agent_id)
        return agent_id if agent_id in self._named else OTHER

    def _admit(self, agent_id: str) -> None:
        """Name the agent if there is room. Runs once for each name that there is room for."""
        if self._folder is None:
            self._named.add(agent_id)
        else:
            self._named |= self._shared_list(self._folder, agent_id)
        self._is_full = len(self._named) - 1 >= self._limit

    def _shared_list(self, folder: Path, agent_id: str) -> set[str]:
        with (folder / _LIST_NAME).open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            named = set(file.read().splitlines())
            if agent_id not in named and len(named) < self._limit:
                named.add(agent_id)
                file.write(f"{agent_id}\n")
        return named


class _Series:
    """The metrics of one kind of question of one agent, looked up once."""

    __slots__ = ("failed", "seconds", "succeeded")

    def __init__(self, query_type: QueryType, agent_label: str) -> None:
        self.seconds: Histogram = QUERY_SECONDS.labels(query_type, agent_label)
        self.succeeded: Counter = QUERIES.labels(query_type, "success")
        self.failed: Counter = QUERIES.labels(query_type, "error")


class measuring:  # noqa: N801 - reads as a function where it is used
    """Around one question: counts it and takes its time. An error that leaves counts as one."""

    __slots__ = ("_series", "_started_s")

    def __init__(self, query_type: QueryType, agent_id: str = SWARM) -> None:
        self._series = _series(query_type, agent_id)

    def __enter__(self) -> None:
        self._started_s = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        series = self._series
        series.seconds.observe(time.perf_counter() - self._started_s)
        (series.succeeded if kind is None else series.failed).inc()


_known: dict[tuple[QueryType, str], _Series] = {}
_labels = AgentLabels(limit=0)


def limit_agents(limit: int) -> None:
    """How many agents have a label of their own; asked once, when the process starts."""
    global _labels  # noqa: PLW0603 - metrics are the process's
    shared = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    _labels = AgentLabels(limit, Path(shared) if shared else None)


def _series(query_type: QueryType, agent_id: str) -> _Series:
    label = _labels.label(agent_id)
    known = _known.get((query_type, label))
    if known is None:
        known = _known[query_type, label] = _Series(query_type, label)
    return known
