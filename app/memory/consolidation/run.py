"""Consolidation: turns what many experiences have in common into patterns that the swarm can
search.

Each owner's recent closed experiences are clustered by regime. A cluster continues the pattern that
it is nearest to, or makes a new one. A stored pattern that would not change is not written, so a
second run on the same memories changes nothing.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from app import vectors
from app.auth import caller
from app.auth.audit import Audit
from app.contract.parse import parse_item
from app.contract.requests import MAX_PAGE, SemanticPatch, SemanticQuery, SemanticStore
from app.errors import MemoryNotFound
from app.memory.consolidation import pattern as patterns
from app.memory.consolidation.clustering import (
    Cluster,
    clusters_of,
    completed,
    matched,
    with_length_one,
)
from app.memory.consolidation.evidence import (
    Trials,
    independent_rewards,
    later_evidence,
    sharpe_ratio_of,
    split_in_time,
)
from app.memory.consolidation.pattern import Owner, Pattern
from app.memory.consolidation.report import ChangeKind, Consolidated, Consolidation, PatternChange
from app.memory.questions import SECONDS_PER_DAY
from app.memory.semantic import SemanticOperations
from app.model import EpisodicFilter
from app.nodes.job_lock import JobLock
from app.nodes.jobs import OwnerFailures
from app.settings import Settings
from app.storage.agents import AgentNames
from app.storage.samples import Episode, EpisodeSource

logger = logging.getLogger(__name__)

JOB = "consolidation"

MAX_EPISODES = 20_000
"""Experiences read per owner; k-means on this many 256-d states takes a few seconds."""

MEMBERS_PER_CLUSTER = 100
"""How many experiences a cluster should have on average, as the rules require for a promotion."""

MAX_CLUSTERS = 32
"""How many patterns one owner may have in one regime."""

MIN_MEMBERS = 10
"""A smaller cluster says too little."""

MAX_DRIFT = 0.1
"""Cosine distance up to which a cluster continues a pattern instead of being a new one."""


@dataclass(frozen=True, slots=True)
class _Run:
    since: float
    until: float
    dry_run: bool
    failures: OwnerFailures


class _Found:
    """One regime's experiences and clusters, and the patterns that an owner has there.

    `continues`: which pattern a cluster continues, by their places.
    """

    def __init__(
        self,
        regime: str,
        episodes: Sequence[Episode],
        clusters: Sequence[Cluster],
        former: Sequence[Pattern],
    ) -> None:
        self.regime = regime
        self.episodes = episodes
        self.clusters = clusters
        self.former = former
        centres = [cluster.centre for cluster in clusters]
        self.continues = matched(centres, [pattern.centre for pattern in former], MAX_DRIFT)

    def ratios(self) -> list[float]:
        """Return the Sharpe ratio of each cluster where it was found."""
        earlier, _ = split_in_time(self.episodes)
        rows = [np.intersect1d(cluster.rows, earlier) for cluster in self.clusters]
        return [
            sharpe_ratio_of(independent_rewards([self.episodes[row] for row in own]))
            for own in rows
        ]


def _tried(found: Sequence[_Found]) -> Trials:
    """Return how many clusters were ever tried for an owner, in whatever regime, and how much the
    Sharpe ratios of today's differ."""
    before_now = max((pattern.trials for part in found for pattern in part.former), default=0)
    new = sum(len(part.clusters) - len(part.continues) for part in found)
    ratios = [ratio for part in found for ratio in part.ratios()]
    variance = float(np.var(ratios, ddof=1)) if len(ratios) > 1 else 0.0
    return Trials(max(1, before_now + new), variance)


class ConsolidationOperations:
    """Makes patterns. `now` returns unix seconds."""

    def __init__(
        self,
        *,
        source: EpisodeSource,
        agents: AgentNames,
        semantic: SemanticOperations,
        job_lock: JobLock,
        settings: Settings,
        now: Callable[[], float],
        audit: Audit,
    ) -> None:
        self._source = source
        self._agents = agents
        self._semantic = semantic
        self._job_lock = job_lock
        self._settings = settings
        self._now = now
        self._audit = audit

    async def run(self, request: Consolidation) -> Consolidated:
        """Make, update, promote and deprecate patterns, or only report which.

        Safe to repeat after any error. Raise ExtraMissing or StorageError.
        """
        caller.require_all_agents()
        if request.dry_run:
            return await self._run(request)
        asked = request.model_dump(exclude_none=True)
        async with self._audit.action("consolidation", asked=asked) as outcome:
            report = await self._run(request)
            counted = {"created", "updated", "promoted", "deprecated"}
            outcome.update(report.model_dump(include=counted))
        return report

    async def run_in_turn(self, interval_s: float) -> None:
        """Consolidate every agent's experiences, unless another process holds the job lock."""
        if await self._job_lock.take(JOB, interval_s):
            async with self._job_lock.returned_on_failure(JOB):
                await self.run(Consolidation(dry_run=False))

    async def _run(self, request: Consolidation) -> Consolidated:
        until = self._now() if request.until is None else request.until
        earliest = until - self._settings.consolidation_days * SECONDS_PER_DAY
        since = earliest if request.since is None else request.since
        report = Consolidated(dry_run=request.dry_run, since=since, until=until)
        run = _Run(since, until, request.dry_run, OwnerFailures(JOB))
        former = await self._former_patterns()
        for owner in await self._owners(request):
            with run.failures.isolating(owner.name):
                await self._consolidate(owner, former.get(owner, []), run, report)
        report.failed, report.failed_owners = run.failures.count, run.failures.named
        logger.info("consolidation", extra={"report": report.model_dump(exclude={"sample"})})
        return report

    async def _owners(self, request: Consolidation) -> list[Owner]:
        if request.product_id is not None:
            return [Owner(product_id=request.product_id)]
        if request.agent_id is not None:
            return [Owner(agent_id=request.agent_id)]
        return [Owner(agent_id=name) for name in await self._agents.all()]

    async def _consolidate(
        self, owner: Owner, former: Sequence[Pattern], run: _Run, report: Consolidated
    ) -> None:
        episodes = await self._episodes(owner, run)
        report.owners += 1
        report.experiences += len(episodes)
        if len(episodes) == MAX_EPISODES:
            report.cut_owners.append(owner.name)
        by_regime: dict[str, list[Episode]] = defaultdict(list)
        for episode in episodes:
            by_regime[episode.regime].append(episode)
        found = []
        for regime in sorted({*by_regime, *(pattern.regime for pattern in former)}):
            own = [pattern for pattern in former if pattern.regime == regime]
            members = by_regime[regime]
            found.append(_Found(regime, members, await self._clusters(members), own))
        tried = _tried(found)
        for part in found:
            wanted, gone = self._wanted(owner, part, tried, run)
            report.left_out += len(part.episodes) - sum(after.statistics.n for _, after in wanted)
            for before, after in (*wanted, *gone):
                with run.failures.isolating(f"{owner.name}, regime {part.regime}"):
                    report.add(await self._apply(owner.name, before, after, run))

    async def _episodes(self, owner: Owner, run: _Run) -> list[Episode]:
        """Return the latest MAX_EPISODES experiences, in an order independent of the reading."""
        wanted = EpisodicFilter(
            product_id=() if owner.product_id is None else (owner.product_id,),
            since=run.since,
            as_of=run.until,
            closed=True,
        )
        names = await self._agents.all() if owner.agent_id is None else [owner.agent_id]
        found: list[Episode] = []
        for name in names:
            found += await self._source.latest(name, wanted, MAX_EPISODES)
        found.sort(key=lambda e: (-e.timestamp, e.agent_id, e.id))
        return found[:MAX_EPISODES]

    async def _clusters(self, episodes: Sequence[Episode]) -> list[Cluster]:
        """Return the clusters of one regime that are large enough for a pattern."""
        if len(episodes) < MIN_MEMBERS:
            return []
        states = np.stack([vectors.to_array(episode.state_vector) for episode in episodes])
        count = min(MAX_CLUSTERS, max(1, len(episodes) // MEMBERS_PER_CLUSTER))
        # Found on the earlier part, so that the later one plays no part in the choice.
        earlier, _ = split_in_time(episodes)
        if len(earlier) < MIN_MEMBERS:
            earlier = np.arange(len(episodes))
        chosen = await asyncio.to_thread(clusters_of, states[earlier], count)
        first = [Cluster(earlier[cluster.rows], cluster.centre) for cluster in chosen]
        others = np.setdiff1d(np.arange(len(episodes)), earlier)
        found = completed(first, states, others)
        return [cluster for cluster in found if len(cluster.rows) >= MIN_MEMBERS]

    def _wanted(
        self, owner: Owner, found: "_Found", tried: Trials, run: _Run
    ) -> tuple[list[tuple[Pattern | None, Pattern]], list[tuple[Pattern | None, Pattern]]]:
        """Return each pattern of one regime as it is (None: it is new) and as it should be.

        First those with a cluster, then those that no cluster is near any more.
        """
        _, later = split_in_time(found.episodes)
        wanted: list[tuple[Pattern | None, Pattern]] = []
        for number, cluster in enumerate(found.clusters):
            before = found.former[found.continues[number]] if number in found.continues else None
            members = [found.episodes[row] for row in cluster.rows]
            is_later = np.isin(cluster.rows, later)
            after_choice = [found.episodes[row] for row in cluster.rows[is_later]]
            with run.failures.isolating(f"{owner.name}, regime {found.regime}"):
                evidence = later_evidence(after_choice, tried)
                after = patterns.made_of(
                    members,
                    cluster.centre,
                    owner=owner,
                    former=before,
                    settings=self._settings,
                    evidence=evidence,
                )
                wanted.append((before, after))
        gone: list[tuple[Pattern | None, Pattern]] = [
            (pattern, patterns.without_memories(pattern))
            for number, pattern in enumerate(found.former)
            if number not in found.continues.values()
        ]
        return wanted, gone

    async def _apply(
        self, owner: str, before: Pattern | None, after: Pattern, run: _Run
    ) -> PatternChange:
        kind: ChangeKind = "update"
        if before is None:
            kind = "create"
        elif before.is_same(after):
            kind = "unchanged"
        if not run.dry_run and kind == "create":
            request = parse_item(SemanticStore, _as_request(after))
            await self._semantic.store(request, created_at=run.until)
        if not run.dry_run and kind == "update":
            changes = {name: v for name, v in _as_request(after).items() if name != "id"}
            await self._semantic.patch(after.id, parse_item(SemanticPatch, changes))
        return PatternChange(
            id=after.id,
            owner=owner,
            regime_name=after.regime,
            change=kind,
            status_before=None if before is None else before.status.value,
            status=after.status.value,
            reason=after.metadata["status_reason"],
            n=after.statistics.n,
            sharpe_ratio=after.statistics.sharpe_ratio,
        )

    async def _former_patterns(self) -> dict[Owner, list[Pattern]]:
        """Return all patterns that were made here, by owner."""
        found: dict[Owner, list[Pattern]] = defaultdict(list)
        cursor: str | None = None
        while True:
            page = await self._semantic.page(
                SemanticQuery(
                    memory_type=["PATTERN"],
                    sort_by="created_at",
                    order="asc",
                    limit=MAX_PAGE,
                    cursor=cursor,
                )
            )
            for owner, pattern in await self._read(page.records):
                found[owner].append(pattern)
            cursor = page.next_cursor
            if cursor is None:
                return found

    async def _read(self, records: Iterable[bytes]) -> list[tuple[Owner, Pattern]]:
        found = []
        for record in map(orjson.loads, records):
            if record["metadata"].get("source") != patterns.SOURCE:
                continue
            try:
                stored, _ = await self._semantic.fetch(record["id"])
            except MemoryNotFound:  # deleted since the page was read
                continue
            centre = vectors.to_array(stored.vectors["concept_vector"])
            made = patterns.stored_pattern(record, with_length_one(centre[np.newaxis])[0])
            if made is not None:
                found.append(made)
        return found


def _as_request(pattern: Pattern) -> dict[str, object]:
    return {
        "id": pattern.id,
        "memory_type": "PATTERN",
        "regime_name": pattern.regime,
        "concept_vector": vectors.to_base64(pattern.centre.astype("<f4").tobytes()),
        "sharpe_ratio": pattern.statistics.sharpe_ratio,
        "win_rate": pattern.statistics.win_rate,
        "metadata": pattern.metadata,
    }
