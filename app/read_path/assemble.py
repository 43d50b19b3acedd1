"""The way of a question, in the order in which it goes.

cache -> single flight -> batcher -> balancer and breakers -> Redis. Each stage can be left out.
Before them stands the recall guard, which only looks on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.read_path.balancer import BalancedRecall
from app.read_path.batcher import BatchingRecall
from app.read_path.breaker import Breaker, BreakerLimits
from app.read_path.cache import CachedRecall
from app.read_path.effort_control import EffortControl
from app.read_path.recall_guard import RecallGuard
from app.read_path.single_flight import SingleFlightRecall
from app.read_path.stage import MasterRecall, NodeGroup, OneByOne, Recall, RecallBatch
from app.read_path.versions import PartitionVersions
from app.records import IndexKind
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class ReadPath:
    """The assembled stages: the first one, and those that must be closed, in that order."""

    recall: Recall
    closing: tuple[RecallGuard | BatchingRecall, ...]

    async def aclose(self) -> None:
        """Answer everyone, then end."""
        for stage in self.closing:
            await stage.aclose()


def assemble_read_path(
    group: NodeGroup,
    *,
    breaker_of: Callable[[str], Breaker],
    versions: PartitionVersions,
    is_channel_alive: Callable[[], bool],
    own_delay_s: Callable[[], float],
    effort_controls: Mapping[IndexKind, EffortControl],
    settings: Settings,
) -> ReadPath:
    """Wire the stages that the settings ask for."""
    search: RecallBatch = MasterRecall(group)
    if settings.balancer_enabled:
        search = BalancedRecall(
            group,
            breaker_of,
            versions,
            replica_timeout_s=settings.replica_timeout_ms / 1000,
            # Time for the longest search that is allowed, then a node that hangs is passed over.
            master_timeout_s=(settings.search_timeout_ms + settings.replica_timeout_ms) / 1000,
            own_delay_s=own_delay_s,
        )
    closing: list[RecallGuard | BatchingRecall] = []
    recall: Recall = OneByOne(search)
    if settings.batch_enabled:
        recall = batcher = BatchingRecall(
            search,
            window_ms=settings.batch_window_ms,
            max_batch=settings.batch_max_queries,
            max_in_flight=settings.batch_max_in_flight,
            max_waiting=settings.batch_max_waiting,
        )
        closing.append(batcher)
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
            group,
            versions,
            effort_controls,
            layout=settings.layout,
            share=settings.recall_sample_share,
            processes=settings.workers,
            timeout_s=settings.search_timeout_ms / 1000,
        )
        closing.insert(0, guard)
    return ReadPath(recall, tuple(closing))


def breakers(settings: Settings, own_delay_s: Callable[[], float]) -> Callable[[str], Breaker]:
    """The breaker of each node by name, made when it is first asked for."""
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
