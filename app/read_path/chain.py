"""The stages of the read path, in the order in which a question passes them:

cache -> single flight -> [sharded] -> batcher by consistency -> balancer and breakers -> Redis.

Each stage can be left out. The recall guard in front of them only observes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app.model import IndexKind, Question
from app.read_path.balancer import BalancedRecall
from app.read_path.batcher import BatchingRecall, ByConsistency
from app.read_path.breaker import Breaker, BreakerLimits
from app.read_path.cache import CachedRecall
from app.read_path.recall_guard import EffortControl, RecallGuard
from app.read_path.sharded import AgentList, ShardedRecall, ShardMap
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


@dataclass(frozen=True, slots=True)
class ReadPath:
    """The assembled stages: the first one, and those to close, in that order.

    A shard gets its own batchers with its first question.
    """

    recall: Recall
    guards: Sequence[RecallGuard]
    batchers: Sequence[BatchingRecall]

    async def aclose(self) -> None:
        """Answer everyone, then end."""
        for guard in self.guards:
            await guard.aclose()
        for batcher in self.batchers:
            await batcher.aclose()


@dataclass(frozen=True, slots=True)
class Spread:
    """Several shards, and the agents on all of them."""

    shards: ShardMap
    agents: AgentList


def assemble_read_path(
    group: NodeGroup,
    node_search: NodeSearch,
    *,
    spread: Spread | None = None,
    breaker_of: Callable[[str], Breaker],
    versions: PartitionVersions,
    is_channel_alive: Callable[[], bool],
    own_delay_s: Callable[[], float],
    effort_controls: Mapping[IndexKind, EffortControl],
    settings: Settings,
) -> ReadPath:
    """Wire the stages that the settings enable. With `spread`, each shard gets stages of its
    own."""
    batchers: list[BatchingRecall] = []

    def make_lane(group: NodeGroup) -> Recall:
        search: RecallBatch = MasterRecall(group, node_search)
        if settings.balancer_enabled:
            search = BalancedRecall(
                group,
                node_search,
                breaker_of,
                versions,
                replica_timeout_s=settings.replica_timeout_ms / 1000,
                # The longest allowed search fits in; after that, a hanging node is skipped.
                master_timeout_s=(settings.search_timeout_ms + settings.replica_timeout_ms) / 1000,
                own_delay_s=own_delay_s,
            )
        if not settings.batch_enabled:
            return OneByOne(search)
        return ByConsistency(make_batcher(search), make_batcher(search))

    def make_batcher(search: RecallBatch) -> BatchingRecall:
        batcher = BatchingRecall(
            search,
            window_ms=settings.batch_window_ms,
            max_batch=settings.batch_max_queries,
            max_in_flight=settings.batch_max_in_flight,
            max_waiting=settings.batch_max_waiting,
        )
        batchers.append(batcher)
        return batcher

    def group_of(question: Question) -> NodeGroup:
        owner = partition_of(question)
        return group if spread is None or owner is None else spread.shards.group_of(owner)

    if spread is None:
        recall = make_lane(group)
    else:
        recall = ShardedRecall(spread.shards, spread.agents, make_lane)
    guards: list[RecallGuard] = []
    if settings.single_flight_enabled:
        recall = SingleFlightRecall(recall, versions)
    if settings.cache_enabled:
        recall = CachedRecall(
            recall,
            versions,
            is_channel_alive=is_channel_alive,
            ttl_s=settings.cache_ttl_s,
            max_entries=settings.cache_max_entries,
            max_bytes=settings.cache_max_bytes,
        )
    if settings.recall_sample_share > 0:
        recall = guard = RecallGuard(
            recall,
            group_of,
            node_search,
            versions,
            effort_controls,
            layout=settings.layout,
            share=settings.recall_sample_share,
            processes=settings.workers,
            timeout_s=settings.search_timeout_ms / 1000,
        )
        guards.append(guard)
    return ReadPath(recall, guards, batchers)


def breakers(settings: Settings, own_delay_s: Callable[[], float]) -> Callable[[str], Breaker]:
    """Return a function that returns each node's breaker by name, created on first use."""
    limits = BreakerLimits(
        failures=settings.breaker_failures,
        slow_ms=settings.breaker_slow_ms,
        slow_share=settings.breaker_slow_share,
        window=settings.breaker_window,
        open_s=settings.breaker_open_s,
    )
    made: dict[str, Breaker] = {}

    def breaker_of(name: str) -> Breaker:
        return made.setdefault(name, Breaker(name, limits, own_delay_s=own_delay_s))

    return breaker_of
