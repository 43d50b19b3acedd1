"""From findings to counts: what was lost, what was wrong, whether the promises held."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.crash.audit import Losses
from tests.crash.faults import Done
from tests.crash.ledger import Finding
from tests.crash.load import Level, Load

BEHIND_S = 5.0
"""`eventual` may lack what another service confirmed no longer than this ago."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The counts of one run, and each promise that did not hold as a sentence."""

    confirmed: int
    lost: int
    lost_outcomes: int
    lost_deletions: int
    doubled: int
    wrong: int
    behind: int
    seconds_without_writes: float
    longest_without_writes_s: float
    seconds_without_reads: float
    longest_without_reads_s: float
    broken: tuple[str, ...]
    examples: tuple[str, ...]


def judge(
    load: Load,
    losses: Losses,
    faults: Sequence[Done],
    not_whole: Sequence[str],
    *,
    level: Level,
    is_single_fault: bool,
) -> Verdict:
    """Zero lost at `replicated` and `fsynced` is promised for one fault at a time; zero wrong,
    zero doubled, clear refusals and recovery without a hand, always."""
    lost = losses.memories | load.vanished
    gone = losses.all | load.vanished
    wrong, behind = [], 0
    for finding in load.findings:
        if finding.kind == "false":
            wrong.append(finding)
        elif (finding.agent, finding.number) in gone:
            continue  # counted once, as a loss
        elif _may_be_behind(finding, load, faults):
            behind += 1
        else:
            wrong.append(finding)
    broken = [f"not whole again: {what}" for what in not_whole]
    broken += [f"an unclear refusal: {what}" for what in sorted(set(load.unclear))]
    broken += [f"on a node, but never sent: {what}" for what in losses.never_sent]
    broken += [f"stored otherwise than sent: {what}" for what in losses.differences]
    if level != "memory" and is_single_fault and gone:
        broken.append(f"{len(gone)} confirmed at {level} were lost: {sorted(gone)[:10]}")
    if losses.doubled:
        broken.append(f"doubled: {sorted(losses.doubled)[:10]}")
    if wrong:
        broken.append(f"{len(wrong)} wrong answers")
    return Verdict(
        confirmed=sum(load.counts[f"{what} confirmed"] for what in _WRITES),
        lost=len(lost),
        lost_outcomes=len(losses.outcomes - lost),
        lost_deletions=len(losses.deletions),
        doubled=len(losses.doubled),
        wrong=len(wrong),
        behind=behind,
        seconds_without_writes=round(load.writes.total_s, 1),
        longest_without_writes_s=round(load.writes.longest_s, 1),
        seconds_without_reads=round(load.reads.total_s, 1),
        longest_without_reads_s=round(load.reads.longest_s, 1),
        broken=tuple(broken),
        examples=tuple(_sentence(finding) for finding in wrong[:20]),
    )


_WRITES = ("stores", "outcomes", "deletions")


def _may_be_behind(finding: Finding, load: Load, faults: Sequence[Done]) -> bool:
    """Whether the contract lets this answer lack what was confirmed."""
    asked = finding.asked
    if asked is None or asked.consistency != "eventual":
        return False
    if any(done.hit_the_master and _is_within(asked.known_at, done) for done in faults):
        return True  # the master was away: whichever replica answers is asked
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


def _sentence(finding: Finding) -> str:
    how = "" if finding.asked is None else f" ({finding.asked.consistency})"
    where = f" from {finding.served_by}" if finding.served_by else ""
    return f"{finding.agent} memory {finding.number}: {finding.what}{how}{where}"
