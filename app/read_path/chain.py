"""The stages of the read path, in the order in which a question passes them:

cache -> resident -> single flight -> [sharded] -> batcher by consistency -> balancer and
breakers -> Redis.

Each stage can be left out. The recall guard in front of them only observes.
"""

from collections.abc import Callable, Mapping

from app.model import IndexKind, Question
from app.nodes.changes import Freshness
from app.read_path.balancer import BalancedRecall
from app.read_path.batcher import BatchingRecall, ByConsistency, Traffic
from app.read_path.breaker import BreakerLimits, Breakers, LoopDelay
from app.read_path.cache import CachedRecall
from app.read_path.recall_guard import EffortControl, RecallGuard
from app.read_path.resident import ResidentRecall, ResidentTables
from app.read_path.sharded import ShardedRecall, ShardMap
from app.read_path.single_flight import SingleFlightRecall
from app.read_path.stage import (
    MasterRecall,
    NodeGroup,
    NodeSearch,
    OneByOne,
    Recall,
    RecallBatch,
    partition_of,
)
from app.read_path.versions import PartitionVersions
from app.settings import Settings
from app.vectors import VectorFormat


class ReadPath:
    """The path of a question. `recall` is its first stage.

    `resident` has copies of memories in this process. With `spread`, the map of several shards,
    each of them gets stages of its own with its first question.
    """

    def __init__(
        self,
        group: NodeGroup,
        search: NodeSearch,
        *,
        spread: ShardMap | None = None,
        resident: ResidentTables | None = None,
        stored_as: VectorFormat,
        breakers: Breakers,
        versions: PartitionVersions,
        freshness: Freshness,
        own_delay: LoopDelay,
        effort_controls: Mapping[IndexKind, EffortControl],
        settings: Settings,
    ) -> None:
        self._group = group
        self._search = search
        self._spread = spread
        self._resident = resident
        self._stored_as = stored_as
        self._breakers = breakers
        self._versions = versions
        self._freshness = freshness
        self._own_delay = own_delay
        self._effort_controls = effort_controls
        self._settings = settings
        self._guards: list[RecallGuard] = []
        self._batchers: list[BatchingRecall] = []
        self._traffic = None if spread is None else Traffic()
        self.recall: Recall = self._sampled(
            self._cached(self._copied(self._single(self._sharded(self._lane))))
        )

    async def aclose(self) -> None:
        """Answer everyone, then end."""
        for guard in self._guards:
            await guard.aclose()
        for batcher in self._batchers:
            await batcher.aclose()

    def _lane(self, group: NodeGroup) -> Recall:
        return self._batched(self._balanced(group))

    def _sampled(self, following: Recall) -> Recall:
        settings = self._settings
        if settings.recall_sample_share <= 0:
            return following
        guard = RecallGuard(
            following,
            self._group_of,
            self._search,
            self._versions,
            self._effort_controls,
            layout=settings.layout,
            share=settings.recall_sample_share,
            processes=settings.workers,
            timeout_s=settings.search_timeout_ms / 1000,
        )
        self._guards.append(guard)
        return guard

    def _cached(self, following: Recall) -> Recall:
        settings = self._settings
        if not settings.cache_enabled:
            return following
        return CachedRecall(
            following,
            self._versions,
            freshness=self._freshness,
            ttl_s=settings.cache_ttl_s,
            max_entries=settings.cache_max_entries,
            max_bytes=settings.cache_max_bytes,
        )

    def _copied(self, following: Recall) -> Recall:
        if self._resident is None:
            return following
        is_alone = self._settings.workers == 1
        return ResidentRecall(following, self._resident, self._stored_as, is_alone=is_alone)

    def _single(self, following: Recall) -> Recall:
        if not self._settings.single_flight_enabled:
            return following
        return SingleFlightRecall(following, self._versions)

    def _sharded(self, make_lane: Callable[[NodeGroup], Recall]) -> Recall:
        if self._spread is None:
            return make_lane(self._group)
        return ShardedRecall(
            self._spread,
            make_lane,
            part_timeout_s=self._settings.group_timeout_ms / 1000,
            own_delay_s=self._own_delay.allowance_s,
        )

    def _batched(self, search: RecallBatch) -> Recall:
        if not self._settings.batch_enabled:
            return OneByOne(search)
        return ByConsistency(self._batcher(search), self._batcher(search))

    def _batcher(self, search: RecallBatch) -> BatchingRecall:
        batcher = BatchingRecall(
            search,
            window_ms=self._settings.batch_window_ms,
            max_batch=self._settings.batch_max_queries,
            max_in_flight=self._settings.batch_max_in_flight,
            max_waiting=self._settings.batch_max_waiting,
            traffic=self._traffic,
        )
        self._batchers.append(batcher)
        return batcher

    def _balanced(self, group: NodeGroup) -> RecallBatch:
        settings = self._settings
        if not settings.balancer_enabled:
            return MasterRecall(group, self._search)
        return BalancedRecall(
            group,
            self._search,
            self._breakers,
            self._versions,
            replica_timeout_s=settings.replica_timeout_ms / 1000,
            # The longest allowed search fits in; after that, a hanging node is skipped.
            master_timeout_s=(settings.search_timeout_ms + settings.replica_timeout_ms) / 1000,
            own_delay_s=self._own_delay.allowance_s,
        )

    def _group_of(self, question: Question) -> NodeGroup:
        owner = partition_of(question)
        if self._spread is None or owner is None:
            return self._group
        return self._spread.group_of(owner)


def node_breakers(settings: Settings, own_delay: LoopDelay) -> Breakers:
    """Return the breakers of all nodes, as the settings want them."""
    limits = BreakerLimits(
        failures=settings.breaker_failures,
        slow_ms=settings.breaker_slow_ms,
        slow_share=settings.breaker_slow_share,
        window=settings.breaker_window,
        open_s=settings.breaker_open_s,
    )
    return Breakers(limits, own_delay.allowance_s)
