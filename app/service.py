"""The composition of one process: every long-lived object, created once and closed in reverse
order."""

import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from app import keys
from app.auth.audit import Audit
from app.auth.key_store import AuthState, admission
from app.auth.limits import AgentAdmission
from app.connect import Purpose, indexes_for, open_redis
from app.context import Durability, remaining_s
from app.evaluate.distances.operations import DistanceOperations
from app.evaluate.job import EvaluateOperations
from app.evaluate.parts import Evaluating, evaluating_parts
from app.feed.follow import FollowOperations
from app.feed.parts import Feeds, feed_parts
from app.feed.snapshot import SnapshotOperations
from app.feed.tail import ChangeTail
from app.feed.waiting import ChangeSignal
from app.memory.access_counting import AccessCounting, counting
from app.memory.answer_limit import AnswerLimit
from app.memory.calibration import CalibrationOperations
from app.memory.changes import ChangeOperations
from app.memory.consolidation.clustering import require_sklearn
from app.memory.consolidation.run import ConsolidationOperations
from app.memory.episodic import EpisodicOperations, EpisodicQueryOperations
from app.memory.estimate import EstimateOperations
from app.memory.estimates.judgement import Judge
from app.memory.estimates.parts import Estimating, estimating_parts
from app.memory.health import HealthOperations
from app.memory.live import TELL_INTERVAL_S, Live
from app.memory.memory_map import MapOperations
from app.memory.questions import SECONDS_PER_DAY
from app.memory.retention import PURGE_JOB, RetentionOperations
from app.memory.sampling import CachedPopulations, SampleOperations
from app.memory.semantic import SemanticOperations
from app.memory.stats import StatsOperations
from app.memory.swarm import CrossAnswers, SwarmOperations
from app.model import IndexKind
from app.moves.ledger import MoveLedger
from app.moves.mover import AgentMover
from app.moves.news import ChangeNews
from app.moves.operations import MoveOperations
from app.nodes.broadcast import Broadcast
from app.nodes.changes import ChangeChannels, WriteNews
from app.nodes.connect import connect
from app.nodes.groups.placement import GroupShards
from app.nodes.health import channel_probe
from app.nodes.job_lock import JobLock
from app.nodes.jobs import JOBS, periodically
from app.nodes.node import RedisNode
from app.nodes.reads import ReadRouter
from app.nodes.shard import Shard, Shards
from app.nodes.writes import Waiting
from app.read_path.breaker import LoopDelay
from app.read_path.chain import ReadPath, node_breakers
from app.read_path.recall_guard import EffortControl, effort_controls
from app.read_path.stage import Recall
from app.read_path.versions import PartitionVersions
from app.settings import Settings
from app.storage.access_counters import AccessStore
from app.storage.agent_summaries import AgentSummaries
from app.storage.agents import EMPTIED_INTERVAL_S, AgentNames, EmptiedAgents
from app.storage.assumptions import require_assumptions
from app.storage.episodic import ExperienceStore
from app.storage.histories import HistoryReader
from app.storage.index import Indexes, index_probe
from app.storage.index_info import are_all_complete
from app.storage.index_move import IndexMover, PartitionMoves
from app.storage.listing import MemoryQuery
from app.storage.map_source import MapSource
from app.storage.memories import MemoryStore
from app.storage.redis_metrics import RedisMetrics
from app.storage.retention import RetentionStore
from app.storage.retired.memories import RetiredExperiences
from app.storage.samples import EpisodeSource, Populations
from app.storage.search import VectorSearch
from app.storage.semantic import ConceptStore, Kept
from app.storage.slowlog import SlowLog
from app.storage.statistics import Statistics
from app.uplift.operations import DecisionOperations
from app.uplift.parts import ARM_SHARES, deciding_parts
from app.vectors import VectorFormat


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a route may call."""

    follow: FollowOperations
    snapshot: SnapshotOperations
    vector_format: VectorFormat
    episodic: EpisodicOperations
    episodic_query: EpisodicQueryOperations
    estimate: EstimateOperations
    calibration: CalibrationOperations
    evaluate: EvaluateOperations
    decisions: DecisionOperations
    distances: DistanceOperations
    sample: SampleOperations
    changes: ChangeOperations
    semantic: SemanticOperations
    slow_log: SlowLog
    retention: RetentionOperations
    consolidation: ConsolidationOperations
    health: HealthOperations
    map: MapOperations
    moves: MoveOperations
    live: Live
    swarm: SwarmOperations
    stats: StatsOperations
    durability: Durability
    answer_limit: AnswerLimit
    has_replicas: bool


SCHEDULES = ("retention_interval_s", "consolidation_interval_s", *ARM_SHARES)
UNSCHEDULED = dict.fromkeys(SCHEDULES, 0.0)
PURGE_INTERVAL_S = 3600.0


@dataclass(frozen=True, slots=True)
class _Storage:
    shards: Shards
    reads: ReadRouter
    indexes: Indexes
    query: MemoryQuery
    store: MemoryStore
    statistics: Statistics
    slow_log: SlowLog

    @property
    def retired(self) -> RetiredExperiences:
        """What left the memories."""
        return RetiredExperiences(
            query=self.query, store=self.store, reads=self.reads, indexes=self.indexes
        )


@dataclass(frozen=True, slots=True)
class _Hearing:
    """Passes on what this process hears of changes, its own among them."""

    versions: PartitionVersions
    signal: ChangeSignal
    tail: ChangeTail

    def changed(self, partition: str) -> None:
        self.versions.invalidate(keys.partition_owner(partition))
        self.signal.changed(partition)
        self.tail.changed(partition)

    def all_changed(self) -> None:
        self.versions.invalidate_all()
        self.signal.all_changed()
        self.tail.all_changed()


@dataclass(frozen=True, slots=True)
class _Background:
    accesses: AccessCounting
    retention: RetentionOperations
    asked: CrossAnswers
    job_lock: JobLock


async def assemble(
    settings: Settings,
    shards: Shards,
    indexes: Indexes,
    stack: AsyncExitStack,
    auth: AuthState | None = None,
) -> Services:
    """Create everything of one process over these shards. The stack closes what must be closed.

    `auth` is the HTTP service's state, which from then on follows the keys and limits the rates.
    """
    shard = shards.home
    figures = RedisMetrics(
        shards,
        interval_s=settings.metrics_interval_s,
        slower_than_us=settings.slowlog_slower_than_us,
    )
    await stack.enter_async_context(figures.collecting())
    versions, signal = PartitionVersions(), ChangeSignal(settings.feed_max_readers)
    hearing = _Hearing(versions, signal, ChangeTail(shards))
    news = ChangeNews(shards, hearing)
    await stack.enter_async_context(news.watching())
    for each in shards:
        each.on_master_change(hearing.all_changed)
    channels = ChangeChannels(shards, invalidate=news.changed, lost=hearing.all_changed)
    await stack.enter_async_context(channels.listening())
    freshness = WriteNews(channels, shards)
    delay = LoopDelay()
    await stack.enter_async_context(delay.measuring())
    breakers = node_breakers(settings, delay)
    reads = ReadRouter(shards, breakers)
    controls = effort_controls(settings, indexes)
    feeds = feed_parts(
        settings,
        shards,
        reads,
        indexes,
        versions=versions,
        freshness=freshness,
        signal=signal,
        stack=stack,
    )
    path = ReadPath(
        shard,
        VectorSearch(indexes, timeout_ms=settings.search_timeout_ms),
        spread=shards if shards.is_spread else None,
        resident=feeds.to_search if settings.resident_max_bytes else None,
        stored_as=indexes.stored_as,
        breakers=breakers,
        versions=versions,
        freshness=freshness,
        own_delay=delay,
        effort_controls=controls,
        settings=settings,
    )
    stack.push_async_callback(path.aclose)

    waiting = Waiting(
        replicas=settings.durability_replicas,
        fsynced_replicas=settings.durability_replicas if shards.is_replicated else 0,
        timeout_ms=settings.durability_timeout_ms,
        remaining_s=remaining_s,
    )
    storage = _Storage(
        shards=shards,
        reads=reads,
        indexes=indexes,
        query=MemoryQuery(reads, indexes=indexes, timeout_ms=settings.search_timeout_ms),
        store=MemoryStore(
            shards,
            reads,
            guards=breakers,
            invalidate=hearing.changed,
            waiting=waiting,
            feed_entries=settings.feed_entries,
        ),
        statistics=Statistics(reads, indexes),
        slow_log=SlowLog(shards),
    )
    background = await _background(settings, storage, stack)
    health = HealthOperations(
        shards,
        {
            "index": index_probe(reads, indexes),
            "cache_channel": channel_probe(channels),
            "jobs": JOBS.probe,
        },
    )
    admit = await admission(settings, shards, stack, auth)
    estimating = estimating_parts(
        HistoryReader(reads, indexes=indexes, timeout_ms=settings.search_timeout_ms),
        path.recall,
        versions,
        freshness=freshness,
        max_memories=settings.estimate_history_memories,
        stored_as=indexes.stored_as,
        vectors_max_bytes=settings.metric_max_bytes,
    )
    stack.push_async_callback(estimating.backcasts.aclose)
    evaluating = evaluating_parts(
        estimating,
        reads,
        dimension=settings.dimension,
        shared_max_age_days=settings.shared_max_age_days,
        admit=admit,
        audit=_audit(settings),
    )
    stack.push_async_callback(evaluating.turns.aclose)
    populations = Populations(reads, indexes=indexes, timeout_ms=settings.search_timeout_ms)
    kept_populations = CachedPopulations(
        populations, versions, freshness=freshness, ttl_s=settings.cache_ttl_s
    )
    services = _services(
        settings,
        storage,
        live=await _live(shard, hearing.tail, stack),
        maps=MapOperations(
            MapSource(reads, indexes, timeout_ms=settings.search_timeout_ms),
            admit,
            versions,
            freshness=freshness,
            dimension=settings.dimension,
        ),
        recall=path.recall,
        estimating=estimating,
        populations=kept_populations if settings.cache_enabled else populations,
        feeds=feeds,
        background=background,
        health=health,
        admit=admit,
        signal=signal,
        effort=controls,
        evaluating=evaluating,
    )
    await _working(services, background.job_lock, settings.consolidation_interval_s, stack)
    return services


async def _live(shard: Shard, tail: ChangeTail, stack: AsyncExitStack) -> Live:
    live = Live(Broadcast(shard, "live"), tail, time.time)
    await _every(TELL_INTERVAL_S, live.tell, "telling what happens", stack)
    return live


async def _every(
    interval_s: float, work: Callable[[], Awaitable[object]], name: str, stack: AsyncExitStack
) -> None:
    await stack.enter_async_context(periodically(work, interval_s, name))


async def _working(
    services: Services, job_lock: JobLock, interval_s: float, stack: AsyncExitStack
) -> None:
    """Start the jobs that use services, if the settings ask for them."""
    await stack.enter_async_context(services.decisions.watching(job_lock))
    if interval_s > 0:
        require_sklearn()
        job = partial(services.consolidation.run_in_turn, interval_s)
        await _every(interval_s, job, "consolidation", stack)


async def _background(settings: Settings, storage: _Storage, stack: AsyncExitStack) -> _Background:
    """Start the background jobs."""
    job_lock = JobLock(storage.shards)
    counters = AccessStore(storage.shards, storage.reads, storage.store, process=uuid.uuid4().hex)
    accesses = await stack.enter_async_context(
        counting(
            counters,
            job_lock,
            flush_interval_s=settings.access_flush_interval_s,
            fold_interval_s=settings.access_fold_interval_s,
            now=time.time,
        )
    )
    retention = RetentionOperations(
        store=RetentionStore(
            query=storage.query,
            store=storage.store,
            reads=storage.reads,
            indexes=storage.indexes,
            past_kept_s=int(settings.semantic_history_days * SECONDS_PER_DAY),
        ),
        retired=storage.retired,
        accesses=accesses,
        job_lock=job_lock,
        settings=settings,
        now=time.time,
        audit=_audit(settings),
    )
    interval_s = settings.retention_interval_s
    if interval_s > 0:
        prune = partial(retention.run_in_turn, interval_s)
        await _every(interval_s, prune, "retention", stack)
    purge = partial(retention.purge_in_turn, PURGE_INTERVAL_S)
    await _every(PURGE_INTERVAL_S, purge, PURGE_JOB, stack)
    asked = CrossAnswers(time.time)
    await _every(settings.metrics_interval_s, asked.measure, "measuring crowding", stack)
    shards = storage.shards
    if isinstance(shards, GroupShards):
        mover = AgentMover(shards, storage.indexes, MoveLedger(shards, for_mover=True), job_lock)
        await stack.enter_async_context(mover.working())
    emptied = EmptiedAgents(shards, job_lock)
    await _every(EMPTIED_INTERVAL_S, emptied.remove_in_turn, "removing emptied agents", stack)
    if settings.layout == "per_agent":
        moves = PartitionMoves(
            IndexMover(storage.shards, storage.indexes),
            job_lock,
            threshold=settings.hnsw_threshold,
            interval_s=settings.hnsw_check_interval_s,
        )
        await _every(settings.hnsw_check_interval_s, moves.run_in_turn, "moving indexes", stack)
    return _Background(accesses, retention, asked, job_lock)


def _audit(settings: Settings) -> Audit:
    return Audit(settings.audit_file, syncs=settings.audit_fsync)


def _services(
    settings: Settings,
    storage: _Storage,
    *,
    live: Live,
    maps: MapOperations,
    recall: Recall,
    estimating: Estimating,
    populations: Populations | CachedPopulations,
    feeds: Feeds,
    background: _Background,
    health: HealthOperations,
    admit: AgentAdmission,
    signal: ChangeSignal,
    effort: Mapping[IndexKind, EffortControl],
    evaluating: Evaluating,
) -> Services:
    stored_as, now, audit = storage.indexes.stored_as, time.time, _audit(settings)
    episodic = ExperienceStore(storage.store, storage.indexes, storage.retired)
    deciding = deciding_parts(settings, storage.store, storage.reads, storage.indexes, admit)
    history_s = int(settings.semantic_history_days * SECONDS_PER_DAY)
    kept = Kept(changes=settings.semantic_history_changes, seconds=history_s)
    semantic = SemanticOperations(
        store=ConceptStore(storage.store, storage.indexes, storage.query, kept=kept),
        query=storage.query,
        memories=storage.store,
        indexes=storage.indexes,
        recall=recall,
        accesses=background.accesses,
        now=now,
        audit=audit,
    )
    return Services(
        follow=FollowOperations(feeds.streams, signal, admit),
        snapshot=SnapshotOperations(feeds.streams, feeds.walk, storage.indexes, admit),
        vector_format=stored_as,
        answer_limit=AnswerLimit(settings.max_answer_bytes, settings.dimension),
        episodic=EpisodicOperations(
            store=episodic,
            recall=estimating.recall,
            metrics=evaluating.metrics,
            stored_as=stored_as,
            now=now,
            audit=audit,
            shared_max_age_days=settings.shared_max_age_days,
            admit=admit,
            arms=deciding.arms,
            ledger=deciding.ledger,
        ),
        live=live,
        moves=MoveOperations(storage.shards),
        map=maps,
        swarm=SwarmOperations(
            AgentSummaries(storage.reads, storage.indexes, timeout_ms=settings.search_timeout_ms),
            storage.statistics,
            background.asked,
            now,
        ),
        estimate=EstimateOperations(
            evidence=estimating.evidence,
            histories=estimating.histories,
            novelty=estimating.novelty,
            judge=Judge(estimating.backcasts),
            metrics=evaluating.metrics,
            stored_as=stored_as,
            shared_max_age_days=settings.shared_max_age_days,
            now=now,
            admit=admit,
            arms=deciding.arms,
        ),
        decisions=deciding.operations,
        sample=SampleOperations(
            populations, admit, feeds.to_draw_from if settings.sample_tables_max_bytes else None
        ),
        calibration=CalibrationOperations(
            histories=estimating.histories,
            backcasts=estimating.backcasts,
            reader=estimating.reader,
            admit=admit,
        ),
        evaluate=evaluating.evaluate,
        distances=evaluating.distances,
        episodic_query=EpisodicQueryOperations(
            query=storage.query,
            store=storage.store,
            indexes=storage.indexes,
            now=now,
            audit=audit,
            admit=admit,
            retired=storage.retired,
            keeps_past=settings.keeps_past,
            ledger=deciding.ledger,
        ),
        changes=ChangeOperations(episodic, deciding.ledger, now, admit),
        semantic=semantic,
        consolidation=ConsolidationOperations(
            source=EpisodeSource(storage.query, storage.reads, storage.indexes),
            agents=AgentNames(storage.reads),
            semantic=semantic,
            job_lock=background.job_lock,
            settings=settings,
            now=now,
            audit=audit,
        ),
        slow_log=storage.slow_log,
        stats=StatsOperations(storage.statistics, effort=effort, now=now),
        retention=background.retention,
        health=health,
        durability=settings.durability,
        has_replicas=storage.shards.is_replicated,
    )


async def start(
    settings: Settings,
    stack: AsyncExitStack,
    auth: AuthState | None = None,
    purpose: Purpose = "service",
) -> Services:
    """Return the service's operations. The stack closes them. `auth` is the HTTP service's.

    A command runs no scheduled jobs: it does the one thing that it was started for.

    Raise StartError if Redis is not suitable or the stored data does not fit the settings.
    """
    if purpose != "service":
        settings = settings.model_copy(update=UNSCHEDULED)
    addresses = await stack.enter_async_context(open_redis(settings, purpose))
    nodes = await connect(settings, addresses, stack)
    indexes = indexes_for(settings, nodes.shards, purpose)

    async def require_fit(master: RedisNode) -> None:
        await require_assumptions(master.client, indexes.stored_as)
        await indexes.verify_on(master)

    for shard in nodes.shards:
        shard.on_master_change(indexes.forget)
    for shard in nodes.present:
        await require_fit(shard.master)
    await stack.enter_async_context(nodes.watching(are_all_complete, require_fit))
    return await assemble(settings, nodes.shards, indexes, stack, auth)
