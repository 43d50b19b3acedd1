"""Removes what a memory need not keep forever, and says why.

An experience is removed once it was stored more than a number of days ago; or, if so configured,
once its `timestamp` is that old, which for imported history is true at once. Questions as of an
earlier moment still find it until it is purged. A concept stays if its Sharpe ratio is above a
limit, or if more than a number of searches found it in the last 30 days. A concept younger than
that stays as well, because it is not known yet how often it will be found. Pinned memories always
stay.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from app.auth import caller
from app.auth.audit import Audit
from app.contract.retention import (
    EpisodicRemoval,
    EpisodicRetention,
    Retention,
    RetentionAnswer,
    SemanticKept,
    SemanticRemoval,
    SemanticRetention,
    SemanticRules,
)
from app.memory import questions as as_of_moment
from app.memory.access_counting import AccessCounting
from app.model import AgeBy
from app.nodes.commands import slices
from app.nodes.job_lock import JobLock
from app.nodes.jobs import OwnerFailures
from app.settings import Settings
from app.storage.access_counters import SECONDS_PER_DAY
from app.storage.retention import CONCEPTS_STEP, WINDOW_DAYS, AgeRule, ConceptRules, RetentionStore
from app.storage.retired.memories import RetiredExperiences

ValueT = TypeVar("ValueT")

logger = logging.getLogger(__name__)

JOB = "retention"
PURGE_JOB = "purge"
SAMPLE = 20
NAMED = 5
MAX_CALL_S = 10.0
"""How long one call deletes memories of either kind. The answer says whether it is complete."""


@dataclass(frozen=True, slots=True)
class _Run:
    """One run: its moment, whether it deletes, and its time limit (monotonic seconds).

    `deleted` is kept up to date for the audit log.
    """

    now: float
    dry_run: bool
    give_up_at: float
    deleted: dict[str, object]

    def goes_on(self) -> bool:
        return not self.dry_run and time.monotonic() < self.give_up_at


class RetentionOperations:
    """Removes what no rule keeps. The settings have the rules that a request does not name.

    `now` returns unix seconds.
    """

    def __init__(
        self,
        *,
        store: RetentionStore,
        accesses: AccessCounting,
        job_lock: JobLock,
        settings: Settings,
        retired: RetiredExperiences,
        now: Callable[[], float],
        audit: Audit,
    ) -> None:
        self._store = store
        self._audit = audit
        self._accesses = accesses
        self._job_lock = job_lock
        self._settings = settings
        self._retired = retired
        self._now = now

    async def run(self, request: Retention, *, max_s: float = MAX_CALL_S) -> RetentionAnswer:
        """Remove what the rules say, or only report it. Raise StorageError; then call again.

        Each memory is checked again in the step that deletes it: one that was pinned or found
        meanwhile stays. Steps are short, so that other requests get their turn.
        """
        as_of_moment.refuse_present("retention")
        if request.agent_id is None:
            caller.require_all_agents()
        else:
            caller.require_agent(request.agent_id)
        if request.dry_run:
            return await self._run(request, {}, max_s)
        asked = request.model_dump(exclude_none=True)
        async with self._audit.action("retention", asked=asked) as outcome:
            return await self._run(request, outcome, max_s)

    async def _run(
        self, request: Retention, deleted: dict[str, object], max_s: float
    ) -> RetentionAnswer:
        deleted |= {"experiences": 0} | ({"concepts": 0} if request.agent_id is None else {})
        run = _Run(self._now(), request.dry_run, time.monotonic() + max_s, deleted)
        episodic = await self._episodic(request, run)
        complete, semantic = run.goes_on(), None
        if request.agent_id is None:
            # Its own time limit, so that it runs however long the experiences take.
            run = replace(run, give_up_at=time.monotonic() + max_s)
            semantic = await self._semantic(request, run)
            complete = complete and run.goes_on()
        answer = RetentionAnswer(
            dry_run=request.dry_run,
            as_of=run.now,
            episodic=episodic,
            semantic=semantic,
            warnings=_warnings(episodic),
            complete=complete or request.dry_run,
        )
        without_samples = {"episodic": {"sample"}, "semantic": {"sample"}}
        logger.info("retention", extra={"report": answer.model_dump(exclude=without_samples)})
        return answer

    async def run_in_turn(self, interval_s: float) -> None:
        """Remove everything by the settings' rules, unless another process holds the job lock."""
        if await self._job_lock.take(JOB, interval_s):
            async with self._job_lock.returned_on_failure(JOB):
                min_age_days = self._settings.retention_semantic_min_age_days
                young = SemanticRules(min_age_days=min_age_days)
                await self.run(Retention(dry_run=False, semantic=young), max_s=math.inf)

    async def purge_in_turn(self, interval_s: float) -> None:
        """Purge what retired too long ago, or is too much, unless another process does."""
        if await self._job_lock.take(PURGE_JOB, interval_s):
            failures = OwnerFailures(PURGE_JOB)
            for agent_id in await self._store.agents():
                with failures.isolating(agent_id):
                    while await self._purge(agent_id, self._now()):
                        pass

    async def _purge(self, agent_id: str, now: float) -> int:
        before = now - self._settings.retention_past_days * SECONDS_PER_DAY
        keep = self._settings.retention_past_memories
        return await self._retired.purge(agent_id, before=before, keep=keep)

    async def _episodic(self, request: Retention, run: _Run) -> EpisodicRetention:
        max_age_days = _given(
            request.episodic_max_age_days, self._settings.retention_episodic_max_age_days
        )
        older_than = run.now - max_age_days * SECONDS_PER_DAY
        report = EpisodicRetention(
            max_age_days=max_age_days,
            older_than=older_than,
            age_by=_given(request.episodic_age_by, self._settings.retention_episodic_age_by),
            matched=0,
            deleted=0,
            retired=0,
            purged=0,
            kept_pinned=0,
            kept_undated=0,
            emptied_agents=0,
            emptied=[],
            sample=[],
        )
        if request.agent_id is not None:
            await self._episodic_of(request.agent_id, report, run)
        else:
            failures = OwnerFailures(JOB)
            for agent_id in await self._store.agents():
                with failures.isolating(agent_id):
                    await self._episodic_of(agent_id, report, run)
            report.failed_owners = failures.named
        report.sample.sort(key=lambda removal: removal.timestamp)
        return report

    async def _episodic_of(self, agent_id: str, report: EpisodicRetention, run: _Run) -> None:
        rule = AgeRule(report.age_by, report.older_than)
        counts = await self._store.count_experiences(agent_id, rule)
        report.matched += counts.too_old
        report.kept_pinned += counts.pinned
        report.kept_undated += counts.undated
        if 0 < counts.too_old == counts.all:
            report.emptied_agents += 1
            report.emptied += [agent_id] if len(report.emptied) < SAMPLE else []
        wanted = SAMPLE - len(report.sample)
        if counts.too_old and wanted > 0:
            oldest = await self._store.oldest_experiences(agent_id, rule, wanted)
            report.sample += [_experience_removal(r, report, run) for r in oldest]
        while counts.too_old and run.goes_on():
            retired_at = run.now if self._settings.keeps_past else None
            deleted = await self._store.forget_experiences(agent_id, rule, retired_at)
            if not deleted:
                break
            report.deleted += deleted
            report.retired += deleted if self._settings.keeps_past else 0
            run.deleted["experiences"] = report.deleted
        while run.goes_on():
            purged = await self._purge(agent_id, run.now)
            if not purged:
                break
            report.purged += purged

    async def _semantic(self, request: Retention, run: _Run) -> SemanticRetention:
        await self._accesses.flush()
        rules, report = self._semantic_rules(request, run)
        kept = report.kept
        kept.pinned, kept.sharpe_ratio, kept.min_age_days = await self._store.count_kept_concepts(
            rules
        )
        end = None
        while True:
            page = await self._store.candidates(rules, run.now, end)
            removed = [(r, hits) for r, hits in page.concepts if hits <= rules.access_count]
            kept.access_count += len(page.concepts) - len(removed)
            report.matched += len(removed)
            wanted = max(0, SAMPLE - len(report.sample))
            report.sample += [_concept_removal(r, hits, report) for r, hits in removed[:wanted]]
            ids = [record["id"] for record, _ in removed]
            for step in slices(ids, CONCEPTS_STEP):
                if not run.goes_on():
                    break
                report.deleted += await self._store.forget_concepts(step, rules, run.now)
                run.deleted["concepts"] = report.deleted
            end = page.end
            if end is None:
                return report

    def _semantic_rules(
        self, request: Retention, run: _Run
    ) -> tuple[ConceptRules, SemanticRetention]:
        asked, defaults = request.semantic or SemanticRules(), self._settings
        sharpe_ratio = _given(
            asked.keep_sharpe_ratio_above, defaults.retention_keep_sharpe_ratio_above
        )
        access_count = _given(
            asked.keep_access_count_above, defaults.retention_keep_access_count_above
        )
        min_age_days = asked.min_age_days or 0.0
        created_at = run.now - min_age_days * SECONDS_PER_DAY
        report = SemanticRetention(
            keep_sharpe_ratio_above=sharpe_ratio,
            keep_access_count_above=access_count,
            min_age_days=min_age_days,
            window_days=WINDOW_DAYS,
            matched=0,
            deleted=0,
            kept=SemanticKept(pinned=0, sharpe_ratio=0, min_age_days=0, access_count=0),
            sample=[],
        )
        return ConceptRules(sharpe_ratio, access_count, created_at), report


def _given(asked: ValueT | None, default: ValueT) -> ValueT:
    return default if asked is None else asked


def _experience_removal(
    record: Mapping[str, Any], rules: EpisodicRetention, run: _Run
) -> EpisodicRemoval:
    age_days = (run.now - record[rules.age_by]) / SECONDS_PER_DAY
    return EpisodicRemoval(
        agent_id=record["agent_id"],
        id=record["id"],
        timestamp=record["timestamp"],
        recorded_at=record.get("recorded_at"),
        reason=f"{age_days:.2f} days {_OLD[rules.age_by]}, more than {rules.max_age_days:g}",
    )


_OLD: Mapping[AgeBy, str] = {"recorded_at": "since it was stored", "timestamp": "old"}


def _warnings(report: EpisodicRetention) -> list[str]:
    warnings = []
    if report.emptied_agents:
        names = ", ".join(report.emptied[:NAMED])
        more = ", ..." if report.emptied_agents > NAMED else ""
        lose = "agent loses" if report.emptied_agents == 1 else "agents lose"
        warnings.append(f"{report.emptied_agents:,} {lose} every memory: {names}{more}.")
        if report.age_by == "timestamp":
            warnings.append(
                "Age is measured by `timestamp`, the market's time, so imported history is old at "
                "once. By `recorded_at`, age begins when a memory is stored."
            )
    if report.kept_undated:
        warnings.append(
            f"{report.kept_undated:,} stay because a former release stored them without the time: "
            "prune them by `timestamp`."
        )
    return warnings


def _concept_removal(
    record: Mapping[str, Any], hits: int, rules: SemanticRetention
) -> SemanticRemoval:
    return SemanticRemoval(
        id=record["id"],
        sharpe_ratio=record["sharpe_ratio"],
        accesses_in_window=hits,
        created_at=record["created_at"],
        reason=f"Sharpe ratio {record['sharpe_ratio']:g} is not above "
        f"{rules.keep_sharpe_ratio_above:g}, and {hits} searches in {rules.window_days} days are "
        f"not more than {rules.keep_access_count_above}",
    )
