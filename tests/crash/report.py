"""A run's counts as Markdown, and as JSON for whoever compares runs."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.machine import Machine
from bench.report import Report, Section, Table, markdown
from tests.crash.run import Result

COLUMNS = (
    *("topology", "level", "faults", "minutes", "seed", "kills and pauses", "confirmed", "lost"),
    *("doubled", "wrong", "behind", "s without writes (longest)", "s without reads (longest)"),
)


def row_of(result: Result) -> tuple[str, ...]:
    """A run as one row of the table."""
    plan, verdict = result.plan, result.verdict
    lost = verdict.lost + verdict.lost_outcomes + verdict.lost_deletions
    return (
        plan.topology,
        plan.level,
        "overlapping" if plan.overlapping else "one at a time",
        f"{result.seconds / 60:.1f}",
        str(plan.seed),
        str(sum(result.faults.values())),
        str(verdict.confirmed),
        str(lost),
        str(verdict.doubled),
        str(verdict.wrong),
        str(verdict.behind),
        f"{verdict.seconds_without_writes:.1f} ({verdict.longest_without_writes_s:.1f})",
        f"{verdict.seconds_without_reads:.1f} ({verdict.longest_without_reads_s:.1f})",
    )


def write(results: Sequence[Result], machine: Machine, *, date: str, folder: Path) -> Path:
    """`crash.md` and `crash.json`; the path of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {
        "date": date,
        "machine": dataclasses.asdict(machine),
        "runs": [dataclasses.asdict(result) for result in results],
    }
    (folder / "crash.json").write_text(json.dumps(said, indent=1) + "\n", "utf-8")
    path = folder / "crash.md"
    path.write_text(markdown(_report(results, machine, date)), "utf-8")
    return path


def _report(results: Sequence[Result], machine: Machine, date: str) -> Report:
    broken = [what for result in results for what in result.verdict.broken]
    lead = (
        f"{date}, {machine.sentence}, commit {machine.commit}, load average at the beginning "
        f"{machine.load_average:.1f}. Every promise of docs/reliability.md held."
        if not broken
        else f"{date}, {machine.sentence}, commit {machine.commit}. {len(broken)} promises broke."
    )
    sections = [Section("Runs", (Table(COLUMNS, tuple(map(row_of, results))), _LEGEND))]
    if broken:
        sections.append(Section("What broke", tuple(f"- {what}" for what in broken)))
    sections += [_details(result) for result in results]
    return Report("Crash test", lead, tuple(sections))


_LEGEND = (
    "`confirmed`: stores, outcomes and deletions that were answered; `lost`: of them, those that "
    "the end of the run does not find, or not on every node; `behind`: answers to `eventual` "
    "questions that lacked the latest writes, as `eventual` may while the master is away or "
    "another service wrote; gaps count from 1 s."
)


def _details(result: Result) -> Section:
    plan, verdict = result.plan, result.verdict
    gaps = tuple(
        (f"{at:.1f}", f"{length:.1f}", what) for at, length, what in result.gaps_without_writes
    )
    parts: list[str | Table] = [
        f"Faults: {_listed(result.faults)}. The slowest recovery took "
        f"{result.slowest_recovery_s:.1f} s from a fault's end until every part said that it is "
        "well.",
        f"Load: {_listed(result.counts)}.",
        f"Refusals: {_listed(result.refusals) or 'none'}.",
        f"Checked at the end: {_listed(result.checked)}.",
        f"Lost: {verdict.lost} memories, {verdict.lost_outcomes} outcomes, "
        f"{verdict.lost_deletions} deletions.",
    ]
    if gaps:
        parts.append(Table(("second", "s without writes", "during"), gaps))
    parts += [f"- {what}" for what in verdict.examples]
    how = "overlapping faults" if plan.overlapping else "one fault at a time"
    return Section(f"{plan.topology}, {plan.level}, {how}", tuple(parts))


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
