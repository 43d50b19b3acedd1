"""A run's counts as Markdown, and as JSON for comparing runs."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.machine import Machine
from bench.report import Report, Section, Table, markdown
from tools.crash.run import Result

COLUMNS = (
    *("topology", "level", "faults", "minutes", "seed", "number", "confirmed", "lost", "doubled"),
    *("reads checked", "wrong", "behind"),
    *("s without writes (longest)", "s without reads (longest)"),
)


def rows_of(result: Result) -> Iterator[tuple[str, ...]]:
    """Yield a run as rows of the table, one for each level."""
    plan = result.plan
    for level, count in result.verdict.levels.items():
        yield (
            plan.topology,
            level,
            "overlapping" if plan.overlapping else "one at a time",
            f"{result.seconds / 60:.1f}",
            str(plan.seed),
            str(sum(result.faults.values())),
            str(count.confirmed),
            str(count.lost + count.lost_outcomes + count.lost_deletions),
            str(count.doubled),
            str(count.reads_checked),
            str(count.wrong),
            str(count.behind),
            f"{count.seconds_without_writes:.1f} ({count.longest_without_writes_s:.1f})",
            f"{count.seconds_without_reads:.1f} ({count.longest_without_reads_s:.1f})",
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
        f"{machine.load_average:.1f}. Every promise of docs/reference/reliability.md held."
        if not broken
        else f"{date}, {machine.sentence}, commit {machine.commit}. {len(broken)} promises broke."
    )
    rows = tuple(row for result in results for row in rows_of(result))
    sections = [Section("Runs", (Table(COLUMNS, rows), _LEGEND))]
    if broken:
        sections.append(Section("What broke", tuple(f"- {what}" for what in broken)))
    sections += [_details(result) for result in results]
    return Report("Crash test", lead, tuple(sections))


_LEGEND = (
    "`confirmed`: stores, outcomes and deletions that were answered; `lost`: of them, those that "
    "the end of the run does not find, or not on every node, and those that the master lacked "
    "meanwhile; `behind`: answers to `eventual` "
    "questions that lacked the latest writes, as `eventual` may while the master is away or "
    "another service wrote; gaps count from 1 s, of writes that wait for the disk from 2.5 s."
)


_OVERLAPPING = (
    "Faults did not wait for each other. That nothing is lost at `replicated` and `fsynced` is "
    "promised for one fault at a time: here losses are counted and break nothing. That no answer "
    "is wrong, nothing is doubled and everything recovers is still promised."
)


def _details(result: Result) -> Section:
    plan, verdict = result.plan, result.verdict
    gaps = tuple(
        (gap.what, gap.part, f"{gap.at_s:.1f}", f"{gap.for_s:.1f}", gap.during)
        for gap in sorted(result.gaps, key=lambda gap: gap.at_s)
    )
    parts: list[str | Table] = [
        f"Faults: {_listed(result.faults)}. The slowest recovery took "
        f"{result.slowest_recovery_s:.1f} s from a fault's end until every part said that it is "
        "well.",
        f"Load: {_listed(result.counts)}.",
        f"Refusals: {_listed(result.refusals) or 'none'}.",
        f"Checked at the end: {_listed(result.checked)}.",
        f"Lost: {verdict.total('lost')} memories, {verdict.total('lost_outcomes')} outcomes, "
        f"{verdict.total('lost_deletions')} deletions.",
    ]
    if result.moves:
        parts.append(
            f"Moves of agents between groups: {_listed(result.moves)}. The longest time without an "
            "answer of agents in one group while another one was hit: "
            + ", ".join(f"{what} {s:.2f} s" for what, s in sorted(result.undisturbed.items()))
            + " (0.00: less than 0.2 s)."
        )
    if plan.overlapping:
        parts.append(_OVERLAPPING)
    if gaps:
        parts.append(Table(("without", "of", "second", "s", "during"), gaps))
    parts += [f"- {what}" for what in verdict.examples]
    how = "overlapping faults" if plan.overlapping else "one fault at a time"
    return Section(f"{plan.topology}, {plan.level}, {how}", tuple(parts))


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
