"""The comparison's page, written from its summary alone."""

from collections.abc import Sequence

from bench.compare.registry import PUBLISHED
from bench.compare.summary import (
    REFERENCE,
    CaseResult,
    Database,
    Summary,
    p50_ms,
    p99_ms,
    per_second,
    ratio,
)
from bench.compare.verdicts import verdicts
from bench.report import Report, Section, Table

COLUMNS = ("database", "recall@10")
BY_CALLERS = ("P50 ms", "P99 ms", "searches/s", "of Redis")


def compare_report(summary: Summary) -> Report:
    """Return a row for each database; for those that did not run, the reason."""
    judged = verdicts(summary)
    missed = sum(not verdict.is_met for verdict in judged)
    outcome = f"FAIL: {missed} of {len(judged)} targets missed." if missed else "PASS."
    return Report(
        title=f"Comparison, {summary.date}",
        lead=(
            f"{outcome} The same vectors and questions on each database: the ten nearest among one "
            f"tenant's own. {summary.machine}. Commit {summary.commit}. Load average "
            f"{summary.load_at_start:.2f} at the start, {summary.load_at_end:.2f} at the end, "
            "which the run itself causes."
        ),
        sections=(
            Section("How", (*_how(summary), f"`{summary.command}`")),
            Section("Targets", (_targets_table(summary),)),
            *(_case_section(result, summary.callers) for result in summary.cases),
            Section("What this does not show", _LIMITS),
        ),
    )


def _how(summary: Summary) -> tuple[str, ...]:
    return (
        f"All databases stay loaded. In each of {summary.rounds} rounds every one of them is asked "
        f"for {summary.seconds} s by each number of callers, another one first each time. "
        "Figures are medians of the rounds, and `of Redis` is the median of the rounds' ratios to "
        f"Redis with an index for each tenant (P50 for one caller, searches a second for more). "
        "Vectors and questions are "
        + (
            "real windows of 20 stocks; questions are later in time than what is stored. With 768 "
            "numbers a window is followed by those of the same stock 21 and 42 trading days "
            "before."
            if summary.data == "market"
            else "random."
        ),
        "Callers wait for their answer before they ask again. Databases with an HTTP interface are "
        "asked by wrk (C); other servers by one Python process for each caller, with the "
        "database's own client library; engines in process by threads, for nothing else reaches "
        "them. Recall@10 is against brute force within the tenant, the worst of all measurements "
        "(over HTTP: of 100 questions before the rounds). Where EF can be set it is raised until "
        "recall is at least 0.95.",
        "Loading ends when the indexes are built. Memory is what loading added to the database's "
        "own processes, or to its caller where it runs in process. `others` is how many "
        "processors other programs kept busy, in the worst of the rounds.",
    )


_LIMITS = (
    "What runs in process pays no network and no protocol, but cannot be shared by a swarm's "
    "processes: faiss, numpy and the embedded engines are floors. Redis alone has none of the "
    "service's checks, cache, metrics or contract.",
    "Load generator, database and service share two processors. With 50 callers a Python process "
    "for each of them takes most of the machine, so Redis and Postgres could answer more than is "
    "shown there; wrk takes a tenth of a processor. [hotpath-results.md](hotpath-results.md) has "
    "Redis by its asyncio client, which takes less.",
    "Small tenants: a filter leaves a few hundred vectors, which an engine may compare one by one. "
    "Large partitions: [README.md](README.md#flat-or-hnsw-the-threshold).",
    "The specification quotes, for 1,000,000 vectors of 768 numbers at recall 0.98 without a "
    "filter on other hardware: "
    + "; ".join(f"{key} {rate:,}/s, {ms:g} ms" for key, (rate, ms) in PUBLISHED.items())
    + ". Not measured here.",
)


def _targets_table(summary: Summary) -> Table:
    rows = tuple(
        (
            v.case,
            v.target,
            f"at {'most' if v.is_most else 'least'} {v.limit:g}",
            f"{v.measured:.3f}" if v.target == "recall@10" else f"{v.measured:.2f}",
            v.words(summary.load_at_start),
        )
        for v in verdicts(summary)
    )
    columns = ("tenants x numbers", "the service's", "limit", "measured", "")
    return Table(columns, rows)


def _case_section(result: CaseResult, callers: Sequence[int]) -> Section:
    case = result.case
    ran = [database for database in result.databases if database.measured]
    return Section(
        f"{case.tenants:,} tenants, {case.numbers} numbers",
        (
            f"{result.vectors:,} vectors, {result.vectors // case.tenants:,} in each tenant; "
            f"{result.questions:,} questions.",
            Table(
                (*COLUMNS, *(f"{n}: {what}" for n in callers for what in BY_CALLERS)),
                tuple(_row(database, result, callers) for database in ran),
            ),
            Table(
                ("database", "reached by", "index", "asked by", "loading s", "MiB", "others"),
                tuple(_what(database) for database in result.databases),
            ),
        ),
    )


def _row(database: Database, result: CaseResult, callers: Sequence[int]) -> tuple[str, ...]:
    cells = [database.name, f"{database.recall:.3f}"]
    reference = result.find(REFERENCE)
    for count in callers:
        figure = p50_ms if count == 1 else per_second
        cells += [
            f"{database.median(count, p50_ms):.2f}",
            f"{database.median(count, p99_ms):.2f}",
            f"{database.median(count, per_second):,.0f}",
            f"{ratio(database, reference, count, figure):.2f}" if reference else "-",
        ]
    return tuple(cells)


def _what(database: Database) -> tuple[str, ...]:
    name = f"{database.name} {database.version}".strip()
    if database.not_run is not None:
        return (name, database.way, f"NOT RUN: {database.not_run}", "-", "-", "-", "-")
    return (
        name,
        database.way,
        database.index,
        database.generator,
        f"{database.load_s:.1f}",
        f"{database.memory_bytes / 2**20:,.0f}",
        f"{max(each.others for each in database.measured):.2f}",
    )
