"""Measures the recall of approximate answers, and adjusts EF_RUNTIME to it.

Some of the questions that were answered approximately are asked again in the background, twice at
the same moment on the same node: as they were, and exactly. The share of the exact neighbours that
the approximate answer has is its recall.

Exact searches of large indexes take long, so samples must not get in the way: one at a time, none
while several questions are in flight, and after each a pause of REST_FACTOR times its duration.
Questions that arrive meanwhile are not sampled later.

EF_RUNTIME is the number of candidates that HNSW keeps while it searches; more find more and take
longer. EffortControl moves one kind of index to the lowest value with enough recall. It raises the
value while the recall is below the target, until the latency budget or the ceiling is reached, and
lowers it again where a lower one is not known to be too low.
"""

import asyncio
import logging
import random
import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import dataclass, replace
from typing import Literal

from app.contract.stats import RecallStats
from app.errors import MemoryServiceError
from app.metrics import EF_RUNTIME, RECALL_AT_K, RECALL_SAMPLES
from app.model import Answer, EpisodicQuestion, IndexKind, Question, SemanticQuestion
from app.nodes.node import RedisNode
from app.read_path.stage import NodeGroup, NodeSearch, Recall
from app.read_path.versions import PartitionVersions
from app.settings import Layout, Settings
from app.storage.index import Indexes, SearchEffort
from app.storage.schema import EPISODIC_HNSW, SEMANTIC_HNSW

BoundBy = Literal["too_few_samples", "recall_target", "latency_budget", "ceiling"]
"""Why EF_RUNTIME stays where it is. `recall_target`: reached. `ceiling`: not reached, but
EF_RUNTIME is at its maximum."""

MIN_SAMPLES = 20
"""Samples before EF_RUNTIME moves; they determine the recall to about 0.03."""

WINDOW = 100
"""Latest samples that count, all at the same EF_RUNTIME. As many are needed before it goes down."""

FAR_BELOW = 0.1
"""If the recall is this far below the target, EF_RUNTIME doubles; otherwise it grows by half."""

FORGOTTEN_AFTER = 2000
"""Samples after which an EF_RUNTIME that was too low may be tried again, because memory changes."""


@dataclass(frozen=True, slots=True)
class EffortLimits:
    """The goal and the bounds. `target` is a recall, 0 to 1."""

    target: float
    ceiling: int
    budget_ms: float


class EffortControl:
    """Decides the EF_RUNTIME of one kind of index, and sets it in `effort`."""

    def __init__(
        self, kind: IndexKind, effort: SearchEffort, *, floor: int, limits: EffortLimits
    ) -> None:
        self._kind = kind
        self._effort = effort
        self._floor = floor
        self._limits = limits
        self._ef_runtime = floor
        self._recalls: deque[float] = deque(maxlen=WINDOW)
        self._latencies_ms: deque[float] = deque(maxlen=WINDOW)
        self._bound_by: BoundBy = "too_few_samples"
        self._too_low = 0
        self._since_too_low = 0

    @property
    def figures(self) -> RecallStats:
        """Return the current measurements."""
        has_any = len(self._recalls) > 0
        return RecallStats(
            index_kind=self._kind,
            ef_runtime=self._ef_runtime,
            recall_at_k=statistics.fmean(self._recalls) if has_any else None,
            latency_ms=statistics.median(self._latencies_ms) if has_any else None,
            samples=len(self._recalls),
            bound_by=self._bound_by,
        )

    def add(self, recall: float, latency_ms: float) -> None:
        """Add one sample taken at the current EF_RUNTIME."""
        self._recalls.append(recall)
        self._latencies_ms.append(latency_ms)
        self._since_too_low += 1
        if len(self._recalls) >= MIN_SAMPLES:
            self._decide()

    def _decide(self) -> None:
        found, limits = statistics.fmean(self._recalls), self._limits
        took_ms = statistics.median(self._latencies_ms)
        if took_ms > limits.budget_ms:
            self._bound_by = "latency_budget"
            self._move(self._ef_runtime * 2 // 3)
        elif found < limits.target:
            self._too_low, self._since_too_low = self._ef_runtime, 0
            self._go_up(found, took_ms)
        else:
            self._bound_by = "recall_target"
            lower = self._ef_runtime * 4 // 5
            if self._since_too_low > FORGOTTEN_AFTER:
                self._too_low = 0
            has_spare = found >= (1 + limits.target) / 2
            if has_spare and len(self._recalls) == WINDOW and lower > self._too_low:
                self._move(lower)

    def _go_up(self, found: float, took_ms: float) -> None:
        limits = self._limits
        is_far = found < limits.target - FAR_BELOW
        higher = self._ef_runtime * 2 if is_far else -(-self._ef_runtime * 3 // 2)
        if self._ef_runtime >= limits.ceiling:
            self._bound_by = "ceiling"
        elif took_ms * higher / self._ef_runtime > limits.budget_ms:
            # The duration grows in proportion to the number of candidates.
            affordable = int(self._ef_runtime * limits.budget_ms / took_ms)
            self._bound_by = "latency_budget"
            if affordable > self._ef_runtime * 1.1:
                self._move(affordable)
        else:
            self._move(higher)

    def _move(self, ef_runtime: int) -> None:
        ef_runtime = max(self._floor, min(ef_runtime, self._limits.ceiling))
        if ef_runtime == self._ef_runtime:
            return
        self._ef_runtime = ef_runtime
        self._recalls.clear()
        self._latencies_ms.clear()
        self._bound_by = "too_few_samples"
        self._effort.set(self._kind, ef_runtime)


def effort_controls(settings: Settings, indexes: Indexes) -> dict[IndexKind, EffortControl]:
    """Return what adjusts EF_RUNTIME for each kind of HNSW index in this layout."""
    limits = EffortLimits(
        target=settings.recall_target,
        ceiling=settings.ef_runtime_max,
        budget_ms=settings.recall_latency_budget_ms,
    )
    floors: dict[IndexKind, int] = {"semantic": SEMANTIC_HNSW.ef_runtime}
    floors["shared" if settings.layout == "shared" else "episodic"] = EPISODIC_HNSW.ef_runtime
    return {
        kind: EffortControl(kind, indexes.effort, floor=floor, limits=limits)
        for kind, floor in floors.items()
    }


logger = logging.getLogger(__name__)

REST_FACTOR = 50
"""Bounds all samples of a process to a fiftieth of one Redis."""

BUSY = 4
"""Questions in flight from which on no sample is taken."""

SAME_DISTANCE = 1e-6
"""Two float32 sums in different order differ by less."""

FAILED_REST_S = 5.0
CANCEL_AGAIN_S = 0.1


class RecallGuard:
    """The first stage: passes questions on, and samples those that were answered approximately.

    `share` (0 to 1) is the share of them to sample. `group_of` returns the nodes that hold a
    question's memory. `processes` share the Redis, so each pauses for longer.
    """

    def __init__(
        self,
        following: Recall,
        group_of: Callable[[Question], NodeGroup],
        search: NodeSearch,
        versions: PartitionVersions,
        controls: Mapping[IndexKind, EffortControl],
        *,
        layout: Layout,
        share: float,
        processes: int,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        self._following = following
        self._group_of = group_of
        self._search = search
        self._versions = versions
        self._controls = controls
        self._layout = layout
        self._share = share
        self._rest_factor = REST_FACTOR * processes
        self._timeout_s = timeout_s
        self._clock = clock
        self._chance = chance or random.Random()  # noqa: S311 - draws samples, keeps no secret
        self._under_way = 0
        self._rests_until_s = 0.0
        self._sampling: asyncio.Task[None] | None = None

    async def recall(self, question: Question) -> Answer:
        """Return the next stage's answer."""
        self._under_way += 1
        try:
            answer = await self._following.recall(question)
        finally:
            self._under_way -= 1
        if not (answer.exact or answer.cached) and self._chance.random() < self._share:
            self._consider(question)
        return answer

    async def aclose(self) -> None:
        """Take no more samples, and cancel the current one."""
        self._share = 0.0
        while self._sampling is not None:
            # redis-py confuses a cancellation with its own timeout if both meet.
            self._sampling.cancel()
            await asyncio.wait([self._sampling], timeout=CANCEL_AGAIN_S)
            await asyncio.sleep(0)  # the callback runs in the loop's next turn

    def _consider(self, question: Question) -> None:
        kind = self._kind_of(question)
        if kind is None:
            return
        is_busy = self._under_way >= BUSY or self._clock() < self._rests_until_s
        if is_busy or self._sampling is not None:
            RECALL_SAMPLES.labels(kind, "dropped").inc()
            return
        # An empty context, because the caller's deadline must not apply to the sample.
        self._sampling = asyncio.create_task(self._sample(kind, question), context=Context())
        self._sampling.add_done_callback(self._sampled)

    def _kind_of(self, question: Question) -> IndexKind | None:
        """Return the kind of index that the question tests. None if it covers many indexes."""
        if isinstance(question, SemanticQuestion):
            return "semantic"
        if self._layout == "shared":
            return "shared"
        return "episodic" if question.scope == "own" else None

    async def _sample(self, kind: IndexKind, question: Question) -> None:
        started_s = self._clock()
        try:
            async with asyncio.timeout(self._timeout_s):
                outcome = await self._compare(kind, question)
        except (MemoryServiceError, TimeoutError) as error:
            logger.debug("no recall sample", extra={"cause": repr(error)})
            outcome = "failed"
        RECALL_SAMPLES.labels(kind, outcome).inc()
        took_s = self._clock() - started_s
        rest_s = FAILED_REST_S if outcome == "failed" else 0.0
        self._rests_until_s = self._clock() + max(rest_s, self._rest_factor * took_s)

    async def _compare(self, kind: IndexKind, question: Question) -> str:
        asked = _plain(question)
        version = self._versions.version(asked)
        node = self._node(self._group_of(asked))
        started_s = self._clock()
        _raised(await self._search.recall_many(node, [asked]))
        latency_ms = (self._clock() - started_s) * 1000
        found, true = _raised(
            await self._search.recall_many(node, [asked, replace(asked, exact=True)])
        )
        if found.exact or not true.hits or version != self._versions.version(asked):
            return "moved"
        recall = recall_of(found, true)
        control = self._controls[kind]
        control.add(recall, latency_ms)
        figures = control.figures
        if figures.recall_at_k is not None:
            RECALL_AT_K.labels(kind).set(figures.recall_at_k)
        EF_RUNTIME.labels(kind).set(figures.ef_runtime)
        return "compared"

    def _node(self, group: NodeGroup) -> RedisNode:
        """Return a replica that gets reads, or else the master. No breaker counts this call."""
        replicas = [node for node in group.replicas if node.status.in_rotation]
        return self._chance.choice(replicas) if replicas else group.master

    def _sampled(self, task: asyncio.Task[None]) -> None:
        self._sampling = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("a recall sample failed", exc_info=error)


def recall_of(found: Answer, true: Answer) -> float:
    """Return the share of true neighbours found. An equally near one counts as well."""
    furthest = true.hits[-1].distance + SAME_DISTANCE
    return min(1.0, sum(hit.distance <= furthest for hit in found.hits) / len(true.hits))


def _plain(question: Question) -> Question:
    if isinstance(question, EpisodicQuestion):
        return replace(
            question,
            trace=None,
            include_vectors=False,
            places_only=False,
            only=(),
            exact=False,
            consistency="eventual",
        )
    return replace(question, trace=None, include_vectors=False, exact=False, consistency="eventual")


def _raised(outcomes: list[Answer | MemoryServiceError]) -> list[Answer]:
    """Return the answers. Raise the first error among them."""
    for outcome in outcomes:
        if isinstance(outcome, MemoryServiceError):
            raise outcome
    return [outcome for outcome in outcomes if isinstance(outcome, Answer)]
