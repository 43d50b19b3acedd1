"""Every metric of the service, declared once. `docs/reference/metrics.md` explains each.

Questions are counted and timed by kind and agent. To bound the number of labels, the first agents
seen keep a label of their own, up to the limit; all others share the label `other`. Worker
processes share one list of labelled agents, so the limit holds for all of them together, and a
replaced worker keeps the same labels.

What each search counts is kept in plain numbers, unless several processes share them:
prometheus_client takes a lock for each number and looks through the buckets in Python, a twentieth
of a search's processor time (docs/benchmarks/hotpath.md).
"""

import fcntl
import os
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Literal

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder in which processes share their metrics, if there are several."""


class Count:
    """A number that only grows. Changed on the event loop's thread alone."""

    __slots__ = ("created", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self.created = time.time()

    def inc(self) -> None:
        """Add one."""
        self.value += 1


class Observed:
    """Sizes or durations, counted by upper bound. Changed on the event loop's thread alone."""

    __slots__ = ("bounds", "counts", "created", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.created = time.time()

    def observe(self, amount: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, amount)] += 1
        self.total += amount


Counting = Count | Counter
Observing = Observed | Histogram


class PlainCounter(Collector):
    """As prometheus_client's Counter, for one process."""

    def __init__(self, name: str, documentation: str, labelnames: Sequence[str] = ()) -> None:
        self._described = (name, documentation)
        self._labelnames = labelnames
        self._series: dict[tuple[str, ...], Count] = {}
        if not labelnames:
            self.inc = self.labels().inc
        REGISTRY.register(self)

    def labels(self, *values: str) -> Count:
        """Return the count with these labels."""
        return self._series.setdefault(values, Count())

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the counts. Called in any thread."""
        family = CounterMetricFamily(*self._described, labels=self._labelnames)
        for values, count in list(self._series.items()):
            family.add_metric(values, count.value, created=count.created)
        yield family


class PlainGauge(Collector):
    """As prometheus_client's Gauge without labels, for one process."""

    def __init__(self, name: str, documentation: str, *, multiprocess_mode: str) -> None:
        del multiprocess_mode  # there is one process
        self._described = (name, documentation)
        self._value = 0.0
        REGISTRY.register(self)

    def set(self, value: float) -> None:
        """Replace the value."""
        self._value = value

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the value. Called in any thread."""
        yield GaugeMetricFamily(*self._described, value=self._value)


class PlainHistogram(Collector):
    """As prometheus_client's Histogram, for one process."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Sequence[str] = (),
        *,
        buckets: Sequence[float],
    ) -> None:
        self._described = (name, documentation)
        self._labelnames = labelnames
        self._bounds = buckets
        self._shown_bounds = [*map(floatToGoString, buckets), "+Inf"]
        self._series: dict[tuple[str, ...], Observed] = {}
        if not labelnames:
            self.observe = self.labels().observe
        REGISTRY.register(self)

    def labels(self, *values: str) -> Observed:
        """Return what was observed with these labels."""
        return self._series.setdefault(values, Observed(self._bounds))

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield what was observed. Called in any thread."""
        name, documentation = self._described
        family = HistogramMetricFamily(name, documentation, labels=self._labelnames)
        for values, observed in list(self._series.items()):
            up_to = accumulate(list(observed.counts))
            buckets = list(zip(self._shown_bounds, up_to, strict=True))
            family.add_metric(values, buckets, observed.total)
            labels = dict(zip(self._labelnames, values, strict=True))
            family.add_sample(f"{name}_created", labels, observed.created)
        yield family


_SHARED = METRICS_FOLDER in os.environ
_counter: type[Counter | PlainCounter] = Counter if _SHARED else PlainCounter
_gauge: type[Gauge | PlainGauge] = Gauge if _SHARED else PlainGauge
_histogram: type[Histogram | PlainHistogram] = Histogram if _SHARED else PlainHistogram

LATENCY_BUCKETS_S = (
    *(0.0001, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005),
    *(0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0),
)
"""Fine around the targets: 1, 2, 5, 10, 15, 30 and 50 ms."""

CACHE_HITS = _counter("redis_memory_cache_hits", "Searches answered from the cache")
CACHE_MISSES = _counter("redis_memory_cache_misses", "Searches that the cache could not answer")
CACHE_ENTRIES = _gauge("memory_cache_entries", "Answers in the cache", multiprocess_mode="livesum")
RESIDENT_ANSWERS = Counter(
    "memory_resident_answers", "Searches answered from a copy of the agent's memory in the process"
)
DEDUPLICATED = Counter(
    "memory_deduplicated_requests",
    "Searches that shared the answer of an identical one in progress",
)
BATCH_SIZE = _histogram(
    "memory_batch_size",
    "Searches sent to Redis in one round trip",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
BATCH_WAITING = Gauge(
    "memory_batch_waiting", "Searches waiting to be sent in a batch", multiprocess_mode="livesum"
)
RECALL_AT_K = Gauge(
    "memory_recall_at_k",
    "Share of the true neighbours that sampled approximate answers contain",
    ["index_kind"],
    multiprocess_mode="livemin",
)
RECALL_SAMPLES = Counter(
    "memory_recall_samples",
    "Approximate answers sampled to measure their recall",
    ["index_kind", "outcome"],
)
EF_RUNTIME = Gauge(
    "memory_ef_runtime",
    "EF_RUNTIME: candidates that an approximate search considers",
    ["index_kind"],
    multiprocess_mode="livemax",
)
BREAKER_STATE = Gauge(
    "memory_breaker_state",
    "State of a node's circuit breaker. 0: closed, 1: half-open, 2: open",
    ["node"],
    multiprocess_mode="livemax",
)
NODE_UP = Gauge(
    "memory_node_up",
    "Whether a node answers. 1: yes, 0: no",
    ["node", "role"],
    multiprocess_mode="livemin",
)
GROUP_UP = Gauge(
    "memory_group_up", "1: the group's master answers", ["group"], multiprocess_mode="livemin"
)
GROUP_AGENTS = Gauge(
    "memory_group_agents",
    "Agents that have their place in the group",
    ["group"],
    multiprocess_mode="livemax",
)
GROUP_USED_BYTES = Gauge(
    "memory_group_used_bytes",
    "Memory that the group's master uses",
    ["group"],
    multiprocess_mode="livemostrecent",
)
GROUP_LIMIT_BYTES = Gauge(
    "memory_group_limit_bytes",
    "The maxmemory of the group's master; 0: no limit",
    ["group"],
    multiprocess_mode="livemostrecent",
)
REPLICA_IN_ROTATION = Gauge(
    "memory_replica_in_rotation",
    "Whether a replica serves reads. 1: yes, 0: no",
    ["node"],
    multiprocess_mode="livemin",
)
REPLICA_LAG_BYTES = Gauge(
    "memory_replica_lag_bytes",
    "Bytes of replication that a replica has not received yet",
    ["node"],
    multiprocess_mode="livemax",
)

RECALLS = Counter("memory_recalls", "Answers that carried a recall_id", ["arm"])
DECISIONS = Counter(
    "memory_decisions", "Decisions and outcomes, by what became of them", ["became"]
)
UPLIFT_AGENTS = Gauge(
    "memory_uplift_agents",
    "Agents with closed decisions, by what the memory does for them",
    ["verdict"],
    multiprocess_mode="livemostrecent",
)

CROWDING = Gauge(
    "memory_crowding_ratio",
    "Share of the latest cross-agent answers that contain one of the ten most used memories",
    multiprocess_mode="livemax",
)
JOB_LAST_SUCCESS = Gauge(
    "memory_job_last_success_timestamp_seconds",
    "Unix seconds of a background job's last success. 0: none yet",
    ["task"],
    multiprocess_mode="livemax",
)
JOB_FAILURES = Counter("memory_job_failures", "Failed runs of a background job", ["task"])
JOB_OWNERS_FAILED = Counter(
    "memory_job_owners_failed", "Owners that a background job skipped because of an error", ["task"]
)
DURABILITY_NOT_REACHED = Counter(
    "memory_durability_not_reached",
    "Writes that did not reach the requested durability in time",
    ["level"],
)

FAILOVERS = Counter("memory_failovers", "Failovers: another node became the master")
FAILOVER_LOST_WRITES = Counter(
    "memory_failover_lost_writes", "Confirmed writes that a new master did not have, by key"
)

# Requests and questions.
QUERY_SECONDS = _histogram(
    "redis_memory_query_seconds",
    "Seconds from a question's arrival to its answer",
    ["query_type", "agent_id"],
    buckets=LATENCY_BUCKETS_S,
)
QUERIES = _counter("redis_memory_queries", "Questions answered", ["query_type", "status"])
HTTP_REQUESTS = _counter("http_requests", "HTTP requests", ["handler", "method", "status"])
CONNECTIONS_REFUSED = Counter(
    "http_connections_refused", "Connections refused because too many were open"
)
HTTP_SECONDS = _histogram(
    "http_request_duration_seconds",
    "Duration of an HTTP request in seconds",
    ["handler", "method"],
    buckets=LATENCY_BUCKETS_S,
)

# Redis's own metrics, read in the background (app/storage/redis_metrics.py). One of the worker
# processes reads them; its values are the most recent.
CONNECTIONS = Gauge(
    "redis_connections_active",
    "Open connections from the service to Redis",
    multiprocess_mode="livesum",
)


def _redis_gauge(name: str, documentation: str) -> Gauge:
    return Gauge(name, documentation, multiprocess_mode="livemostrecent")


USED_BYTES = _redis_gauge("redis_memory_usage_bytes", "Bytes of memory that the Redis master uses")
LIMIT_BYTES = _redis_gauge(
    "redis_memory_limit_bytes", "The master's maxmemory in bytes. 0: no limit"
)
EVICTED_KEYS = Counter("redis_evicted_keys", "Keys that the master evicted to free memory")
EXPIRED_KEYS = Counter("redis_expired_keys", "Keys that the master deleted because they expired")
INDEX_DOCUMENTS = _redis_gauge("memory_index_documents", "Memories in all indexes")
INDEX_BYTES = _redis_gauge("memory_index_bytes", "Bytes of memory that all indexes use")
INDEX_PROGRESS = _redis_gauge(
    "memory_index_progress_ratio", "Lowest share of its memories that any index has indexed"
)
INDEX_FAILURES = _redis_gauge("memory_index_failures", "Memories that the engine could not index")
OPEN_MEMORIES = _redis_gauge("memory_open_memories", "Experiences without an outcome yet")


QueryType = Literal[
    "vector_similarity", "semantic_similarity", "range", "semantic_range", "estimate", "sample"
]
"""Kinds of question: search and query of either memory, estimates and samples of experiences."""

OTHER = "other"
SWARM = ""
"""Takes the agent's place in questions about the swarm's concepts."""

_LIST_NAME = "agents.txt"


class AgentLabels:
    """Decides which agents have a label of their own. Processes share the list in `folder`."""

    def __init__(self, limit: int, folder: Path | None = None) -> None:
        self._limit = limit
        self._folder = folder
        self._named = {SWARM}
        self._is_full = limit == 0

    def label(self, agent_id: str) -> str:
        """Return the agent's name, or `other`."""
        if agent_id in self._named:
            return agent_id
        if not self._is_full:
            self._admit(agent_id)
        return agent_id if agent_id in self._named else OTHER

    def _admit(self, agent_id: str) -> None:
        """Give the agent a label if there is room. Runs once per label."""
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
    """The metrics for one kind of question and one agent, looked up once."""

    __slots__ = ("failed", "seconds", "succeeded")

    def __init__(self, query_type: QueryType, agent_label: str) -> None:
        self.seconds = QUERY_SECONDS.labels(query_type, agent_label)
        self.succeeded = QUERIES.labels(query_type, "success")
        self.failed = QUERIES.labels(query_type, "error")


class measuring:  # noqa: N801 - reads as a function where it is used
    """Counts and times one question. An exception that leaves the block counts as an error."""

    __slots__ = ("_series", "_started_s")

    def __init__(self, query_type: QueryType, agent_id: str = SWARM) -> None:
        self._series = _series(query_type, agent_id)

    def __enter__(self) -> None:
        self._started_s = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        series = self._series
        series.seconds.observe(time.perf_counter() - self._started_s)
        (series.succeeded if kind is None else series.failed).inc()


_known: dict[tuple[QueryType, str], _Series] = {}
_labels = AgentLabels(limit=0)


def limit_agents(limit: int) -> None:
    """Set how many agents have a label of their own. Called once, when the process starts."""
    global _labels  # noqa: PLW0603 - metrics are the process's
    shared = os.environ.get(METRICS_FOLDER)
    _labels = AgentLabels(limit, Path(shared) if shared else None)


def _series(query_type: QueryType, agent_id: str) -> _Series:
    label = _labels.label(agent_id)
    known = _known.get((query_type, label))
    if known is None:
        known = _known[query_type, label] = _Series(query_type, label)
    return known
