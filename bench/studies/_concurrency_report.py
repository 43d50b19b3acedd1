"""The page about many callers, written from its summary alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pydantic import TypeAdapter

from bench.compare.summary import as_rounded_json
from bench.report import Report, Section, Table
from bench.verdict import Verdict

CLOSED = "closed loop, base64"
NUMBERS = "closed loop, array of numbers"
OPEN = "open loop, array of numbers"

LINES_TO_BEAT = {1: 0.8, 10: 2.5, 50: 8.0, 100: 15.0}
"""Mean latency in ms by callers, as the specification quotes it for Redis."""

WORKERS = {1: "one worker", 2: "two workers"}
MOST_OPEN_P99_MS = 5.0
MOST_OF_BASE64 = 1.25
LEAST_OF_ONE_WORKER = 1.3


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. `clients` 0: an open loop. The last four are processors, on average."""

    loop: str
    workers: int
    clients: int
    round: int
    rate: float
    mean_ms: float
    p50_ms: float
    p99_ms: float
    service: float
    redis: float
    generator: float
    others: float


@dataclass(frozen=True, slots=True)
class Study:
    """A whole run. `recall` is the worst of the services', of questions before the rounds."""

    date: str
    command: str
    machine: str
    commit: str
    generator: str
    agents: int
    memories: int
    recall: float
    load_at_start: float
    load_at_end: float
    rows: tuple[Row, ...]

    def of(self, loop: str, workers: int, clients: int) -> list[Row]:
        """Return the rounds of one measurement, in order."""
        return [r for r in self.rows if (r.loop, r.workers, r.clients) == (loop, workers, clients)]


def verdicts(study: Study) -> list[Verdict]:
    """Return every target of the page."""
    return list(_verdicts(study))


def _verdicts(study: Study) -> Iterator[Verdict]:
    for workers in (1, 2):
        for clients, limit in LINES_TO_BEAT.items():
            rows = study.of(CLOSED, workers, clients)
            name = f"{clients} caller{'s' * (clients > 1)}, {WORKERS[workers]}: mean ms"
            yield Verdict(name, limit, _median(rows, lambda r: r.mean_ms), _others(rows))
    rows = study.of(OPEN, 1, 0)
    yield Verdict(
        "open loop, 1,000 requests a second: P99 ms",
        MOST_OPEN_P99_MS,
        _median(rows, lambda r: r.p99_ms),
        _others(rows),
    )
    numbers, base64 = study.of(NUMBERS, 1, 1), study.of(CLOSED, 1, 1)
    yield Verdict(
        "1 caller: P50 of an array of numbers, of base64's",
        MOST_OF_BASE64,
        _ratio(numbers, base64, lambda r: r.p50_ms),
        _others([*numbers, *base64]),
    )
    two, one = study.of(CLOSED, 2, 50), study.of(CLOSED, 1, 50)
    yield Verdict(
        "50 callers: two workers' rate, of one's",
        LEAST_OF_ONE_WORKER,
        _ratio(two, one, lambda r: r.rate),
        _others([*two, *one]),
        is_most=False,
    )


def concurrency_report(study: Study) -> Report:
    """Return targets, figures, and what the processors did."""
    judged = verdicts(study)
    missed = sum(not verdict.is_met for verdict in judged)
    outcome = f"FAIL: {missed} of {len(judged)} targets missed." if missed else "PASS."
    return Report(
        title=f"Many callers, {study.date}",
        lead=(
            f"{outcome} {study.agents} agents with {study.memories:,} random memories of 256 "
            "numbers each, top 10, every question another agent's. None is answered by the cache; "
            "after a warm-up the service has copies of all agents; "
            f"recall@10 {study.recall:.3f} (of 100 questions before). {study.machine}. "
            f"Commit {study.commit}. Load average {study.load_at_start:.2f} at the start, "
            f"{study.load_at_end:.2f} at the end, which the run itself causes. `{study.command}`"
        ),
        sections=(
            Section("Targets", (_targets_table(study, judged), _LINES)),
            Section("Figures", (_HOW.format(generator=study.generator), _figures_table(study))),
            Section("What an answer costs one worker and two", (_two_workers(study),)),
        ),
    )


_LINES = (
    "The limits of the mean are what the specification quotes for Redis, on other hardware and "
    "without a service in between."
)

_HOW = (
    "Closed loop: {generator}; each caller asks again as soon as it is answered. Open loop: a lean "
    "client in Python sends each request when it is due (random moments, 1,000 a second on "
    "average), and latency counts from then. Medians of the rounds; a ratio is the median of the "
    "rounds' ratios. The last four columns are processors kept busy, of two in all."
)


def _targets_table(study: Study, judged: list[Verdict]) -> Table:
    rows = tuple(
        (
            v.target,
            f"at {'most' if v.is_most else 'least'} {v.limit:g}",
            f"{v.measured:.2f}",
            v.words(study.load_at_start),
        )
        for v in judged
    )
    return Table(("target", "limit", "measured", ""), rows)


def _figures_table(study: Study) -> Table:
    kinds = dict.fromkeys((r.loop, r.workers, r.clients) for r in study.rows)
    columns = ("load", "workers", "callers", "requests/s", "mean ms", "P50 ms", "P99 ms")
    return Table(
        (*columns, "service", "Redis", "generator", "others"),
        tuple(_figures(study, *kind) for kind in sorted(kinds)),
    )


def _figures(study: Study, loop: str, workers: int, clients: int) -> tuple[str, ...]:
    rows = study.of(loop, workers, clients)
    return (
        *(loop, str(workers), str(clients or "-")),
        f"{_median(rows, lambda r: r.rate):,.0f}",
        f"{_median(rows, lambda r: r.mean_ms):.2f}",
        f"{_median(rows, lambda r: r.p50_ms):.2f}",
        f"{_median(rows, lambda r: r.p99_ms):.2f}",
        f"{_median(rows, lambda r: r.service):.2f}",
        f"{_median(rows, lambda r: r.redis):.2f}",
        f"{_median(rows, lambda r: r.generator):.2f}",
        f"{_others(rows):.2f}",
    )


def _two_workers(study: Study) -> str:
    """Compute from the time of one answer what two processors can give at most."""
    one, two = study.of(CLOSED, 1, 50), study.of(CLOSED, 2, 50)

    def cost_us(row: Row) -> float:
        return (row.service + row.redis + row.generator) / row.rate * 1e6

    one_us, two_us = _median(one, cost_us), _median(two, cost_us)
    busy_one = _median(one, lambda r: r.service + r.redis + r.generator)
    busy_two = _median(two, lambda r: r.service + r.redis + r.generator)
    rate = _median(one, lambda r: r.rate)
    return (
        f"With 50 callers and one worker, service, Redis and load generator together keep "
        f"{busy_one:.2f} of the two processors busy, and an answer costs {one_us:.0f} us of them. "
        f"So two processors that never wait give {2e6 / one_us:,.0f} answers a second at most, "
        f"{2e6 / one_us / rate:.2f} times what one worker gives. Two workers answer from copies "
        f"and leave Redis alone: they and the generator are busy for {busy_two:.2f}, and an answer "
        f"costs {two_us:.0f} us."
    )


def _median(rows: list[Row], figure: Callable[[Row], float]) -> float:
    return median(map(figure, rows))


def _ratio(one: list[Row], other: list[Row], figure: Callable[[Row], float]) -> float:
    return median(figure(a) / figure(b) for a, b in zip(one, other, strict=True))


def _others(rows: list[Row]) -> float:
    return max(row.others for row in rows)


def read_study(path: Path) -> Study:
    """Return what `write_study` wrote. Raises OSError, pydantic.ValidationError."""
    return TypeAdapter(Study).validate_json(path.read_bytes())


def write_study(study: Study, path: Path) -> None:
    """Write it as JSON, with four digits after the point."""
    path.write_bytes(as_rounded_json(study))
