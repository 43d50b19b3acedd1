"""The page about copies of memories in the service, written from its summary alone."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pydantic import TypeAdapter

from bench.compare.summary import as_rounded_json
from bench.paths import BENCHMARKS
from bench.report import Report, Section, Table
from bench.verdict import Verdict

SUMMARY = BENCHMARKS / "copies.json"
PAGE = BENCHMARKS / "copies.md"
LARGE = 10_000
MOST_OF_REDIS = 0.6


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. `service_us` and `redis_us`: processor time for one answer."""

    memories: int
    is_copied: bool
    clients: int
    round: int
    rate: float
    p50_ms: float
    p99_ms: float
    service_us: float
    redis_us: float
    recall: float
    others: float


@dataclass(frozen=True, slots=True)
class Study:
    """A whole run. `recall` is the worst of the services', of questions before the rounds."""

    date: str
    command: str
    machine: str
    commit: str
    load_at_start: float
    load_at_end: float
    recall: float
    rows: tuple[Row, ...]

    def of(self, memories: int, clients: int, *, is_copied: bool) -> list[Row]:
        """Return the rounds of one measurement, in order."""
        wanted = memories, clients, is_copied
        return [r for r in self.rows if (r.memories, r.clients, r.is_copied) == wanted]


def verdict(study: Study) -> Verdict:
    """Return whether large memories are answered fast enough."""
    return Verdict(
        f"1 client, {LARGE:,} memories an agent: P50 with copies, of that without",
        MOST_OF_REDIS,
        _ratio(study, LARGE, 1, lambda row: row.p50_ms),
        max((row.others for row in study.rows), default=0.0),
    )


def copies_report(study: Study) -> Report:
    """Return the target and the figures."""
    judged = verdict(study)
    target = Table(
        ("target", "limit", "measured", ""),
        (
            (
                judged.target,
                f"at most {judged.limit:g}",
                f"{judged.measured:.2f}",
                judged.words(study.load_at_start),
            ),
        ),
    )
    return Report(
        title=f"Copies of memories in the service, {study.date}",
        lead=(
            "Agents that are asked often are answered from copies in the service "
            "([decision](../decisions/0038-copies-that-answer.md)). Two services are asked in turn "
            f"in each round: one with copies, as it comes, and one without "
            f"(`MEMORY_RESIDENT_MAX_BYTES=0`). Random vectors of 256 numbers, top 10, one worker, "
            f"closed loop by wrk, none answered by the cache; recall@10 {study.recall:.3f}. "
            f"{study.machine}. Commit {study.commit}. Load average {study.load_at_start:.2f} at "
            f"the start, {study.load_at_end:.2f} at the end, which the run itself causes. "
            f"`{study.command}`"
        ),
        sections=(
            Section("Target", (target,)),
            Section("Figures", (_HOW, _figures(study))),
        ),
    )


_HOW = (
    "Medians of the rounds; the ratios are medians of the rounds' ratios, with copies to without. "
    "`us`: processor time of the service, and of Redis, for one answer."
)


def _figures(study: Study) -> Table:
    kinds = dict.fromkeys((row.memories, row.clients) for row in study.rows)
    columns = ("memories", "clients", "copies", "q/s", "P50 ms", "P99 ms", "service us", "Redis us")
    rows = [
        (
            f"{memories:,}",
            str(clients),
            "yes" if is_copied else "no",
            f"{_median(part, lambda r: r.rate):,.0f}",
            f"{_median(part, lambda r: r.p50_ms):.2f}",
            f"{_median(part, lambda r: r.p99_ms):.2f}",
            f"{_median(part, lambda r: r.service_us):.0f}",
            f"{_median(part, lambda r: r.redis_us):.0f}",
            f"{_ratio(study, memories, clients, lambda r: r.p50_ms):.2f}" if is_copied else "",
            f"{_ratio(study, memories, clients, lambda r: r.rate):.2f}" if is_copied else "",
        )
        for memories, clients in kinds
        for is_copied in (False, True)
        for part in [study.of(memories, clients, is_copied=is_copied)]
    ]
    return Table((*columns, "P50 ratio", "q/s ratio"), tuple(rows))


def _ratio(study: Study, memories: int, clients: int, figure: Callable[[Row], float]) -> float:
    with_copies = study.of(memories, clients, is_copied=True)
    without = study.of(memories, clients, is_copied=False)
    return median(figure(a) / figure(b) for a, b in zip(with_copies, without, strict=True))


def _median(rows: list[Row], figure: Callable[[Row], float]) -> float:
    return median(map(figure, rows))


def read_study(path: Path) -> Study:
    """Return what `write_study` wrote. Raises OSError, pydantic.ValidationError."""
    return TypeAdapter(Study).validate_json(path.read_bytes())


def write_study(study: Study, path: Path) -> None:
    """Write it as JSON, with four digits after the point."""
    path.write_bytes(as_rounded_json(study))
