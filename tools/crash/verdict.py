"""From findings to counts: what was lost, what was wrong, whether the promises held."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tools.crash.audit import Losses
from tools.crash.faults import Done
from tools.crash.ledger import Finding
from tools.crash.load import Level, Load

BEHIND_S = 5.0
"""`eventual` may lack what another service confirmed no longer than this ago."""


@dataclass(frozen=True, slots=True)
class Count:
    """What came of the writes at one level, and of the questions about them.

    `lost` are memories. The times are those of the shard that was worst off.
    """

    confirmed: int
    lost: int
    lost_outcomes: int
    lost_deletions: int
    doubled: int
    reads_checked: int
    wrong: int
    behind: int
    seconds_without_writes: float
    longest_without_writes_s: float
    seconds_without_reads: float
    longest_without_reads_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The counts of one run, and each promise that did not hold as a sentence."""

    levels: dict[Level, Count]
    broken: tuple[str, ...]
    examples: tuple[str, ...]

    def total(self, what: str) -> int:
        """Return a count over all levels."""
        return sum(getattr(count, what) for count in self.levels.values())


def judge(
    load: Load,
    losses: Losses,
    faults: Sequence[Done],
    not_whole: Sequence[str],
    *,
    is_single_fault: bool,
) -> Verdict:
    """Judge a run. With one fault at a time, nothing may be lost at `replicated` and `fsynced`.
    Always, nothing may be wrong or doubled, refusals must be clear, and everything must recover by
    itself."""
    gone = losses.all | load.vanished | load.reopened | load.reappeared
    wrong, behind = [], []
    for finding in load.findings:
        if finding.kind == "false":
            wrong.append(finding)
        elif (finding.agent, finding.number) in gone:
            continue  # counted once, as a loss
        elif _may_be_behind(finding, load, faults):
            behind.append(finding)
        else:
            wrong.append(finding)
    broken = [f"not whole again: {what}" for what in not_whole]
    broken += [f"an unclear refusal: {what}" for what in sorted(set(load.unclear))]
    broken += [f"on a node, but never sent: {what}" for what in losses.never_sent]
    broken += [f"stored otherwise than sent: {what}" for what in losses.differences]
    promised = sorted(which for which in gone if load.level_of[which[0]] != "memory")
    if promised and is_single_fault:
        broken.append(f"{len(promised)} of what was confirmed were lost: {promised[:10]}")
    if losses.doubled:
        broken.append(f"doubled: {sorted(losses.doubled)[:10]}")
    if wrong:
        broken.append(f"{len(wrong)} wrong answers")
    return Verdict(
        levels={level: _count(level, load, losses, wrong, behind) for level in load.levels},
        broken=tuple(broken),
        examples=tuple(_sentence(finding, load) for finding in wrong[:20]),
    )


def _count(
    level: Level, load: Load, losses: Losses, wrong: Sequence[Finding], behind: Sequence[Finding]
) -> Count:
    def of_level(agents: Iterable[str]) -> int:
        return sum(load.level_of[agent] == level for agent in agents)

    def lost(which: Iterable[tuple[str, int]]) -> int:
        return of_level(agent for agent, _ in which)

    memories = losses.memories | load.vanished
    writes = [outage for (_, own), outage in load.writes.items() if own == level]
    reads = [outage for (_, own), outage in load.reads.items() if own == level]
    return Count(
        confirmed=load.confirmed[level],
        lost=lost(memories),
        lost_outcomes=lost((losses.outcomes | load.reopened) - memories),
        lost_deletions=lost(losses.deletions | load.reappeared),
        doubled=lost(losses.doubled),
        reads_checked=load.checked[level],
        wrong=of_level(finding.agent for finding in wrong),
        behind=of_level(finding.agent for finding in behind),
        seconds_without_writes=_most(outage.total_s for outage in writes),
        longest_without_writes_s=_most(outage.longest_s for outage in writes),
        seconds_without_reads=_most(outage.total_s for outage in reads),
        longest_without_reads_s=_most(outage.longest_s for outage in reads),
    )


def _most(seconds: Iterable[float]) -> float:
    return round(max(seconds, default=0.0), 1)


def _may_be_behind(finding: Finding, load: Load, faults: Sequence[Done]) -> bool:
    """Return whether the contract lets this answer lack what was confirmed."""
    asked = finding.asked
    if asked is None or asked.consistency != "eventual":
        return False
    if any(done.hit_the_master and _is_within(asked.known_at, done) for done in faults):
        return True  # the master was away: any replica that answers is asked
    ledger = next(ledger for ledger in load.ledgers if ledger.agent == finding.agent)
    memory = ledger.memories[finding.number]
    changed = (memory.confirmed_at, memory.outcome_at, memory.deleted_at)
    age_s = asked.known_at - max(moment for moment in changed if moment < asked.known_at)
    is_own = memory.changed_by == asked.service and not _was_killed(asked.service, faults)
    return age_s < BEHIND_S and not is_own


def _is_within(moment: float, done: Done) -> bool:
    return done.began_at - BEHIND_S <= moment <= done.whole_at


def _was_killed(service: int, faults: Sequence[Done]) -> bool:
    name = f"service-{service + 1}"
    return any(done.name == name and done.fault.kind == "kill" for done in faults)


def _sentence(finding: Finding, load: Load) -> str:
    how = "" if finding.asked is None else f" ({finding.asked.consistency})"
    where = f" from {finding.served_by}" if finding.served_by else ""
    level = load.level_of[finding.agent]
    return f"{finding.agent} ({level}) memory {finding.number}: {finding.what}{how}{where}"
