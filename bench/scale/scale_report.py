"""Tables and plots of the scale study."""

from collections.abc import Sequence

from bench.machine import Machine, package_versions
from bench.machine_report import machine_section
from bench.plots import Line, line_plot
from bench.report import Figure, Report, Section, Table
from bench.scale.engine_study import EngineRow
from bench.scale.service_study import AGENTS, TOGETHER, ServiceRow

GOOD_RECALL = 0.95


def scale_report(
    engine: Sequence[EngineRow],
    service: Sequence[ServiceRow],
    machine: Machine,
    *,
    date: str,
    command: str,
) -> Report:
    """Return what the study measured, and where FLAT and HNSW cross."""
    return Report(
        title=f"Scale study, {date}",
        lead="How latency, memory and loading time grow with a partition, exact and approximate.",
        sections=(
            Section("One partition, on Redis alone", (*_engine_figures(engine), *_engine(engine))),
            Section("Where they cross", (_crossing_table(engine),)),
            Section("Through the service, two layouts", _service(service)),
            Section("What was run", (f"`{command}`",)),
            machine_section(machine, package_versions()),
        ),
    )


def _groups(rows: Sequence[EngineRow]) -> dict[tuple[str, int], list[EngineRow]]:
    found: dict[tuple[str, int], list[EngineRow]] = {}
    for row in rows:
        if row.not_run is None:
            found.setdefault((row.data, row.dimension), []).append(row)
    return found


def _engine_figures(rows: Sequence[EngineRow]) -> list[Figure]:
    figures = []
    for (data, dimension), group in _groups(rows).items():
        if len({row.size for row in group}) < 3:
            continue
        name = f"{data} vectors, {dimension} numbers"
        stem = f"scale_{data}_{dimension}"
        latency = line_plot(
            f"One search on Redis alone: {name}",
            _lines(group, "p50_ms"),
            x="vectors in the partition",
            y="P50 (ms)",
            is_x_log=True,
            is_y_log=True,
        )
        recall = line_plot(
            f"Recall@10: {name}",
            _lines(group, "recall"),
            x="vectors in the partition",
            y="recall@10",
            is_x_log=True,
        )
        figures += [
            Figure(f"{stem}_latency.png", latency, f"Latency against size, {name}"),
            Figure(f"{stem}_recall.png", recall, f"Recall against size, {name}"),
        ]
    return figures


def _lines(rows: Sequence[EngineRow], figure: str) -> list[Line]:
    lines: dict[str, list[EngineRow]] = {}
    for row in rows:
        lines.setdefault(_label(row), []).append(row)
    return [
        Line(label, [r.size for r in group], [float(getattr(r, figure)) for r in group])
        for label, group in lines.items()
    ]


def _label(row: EngineRow) -> str:
    return row.algorithm if row.ef is None else f"{row.algorithm}, EF {row.ef}"


def _engine(rows: Sequence[EngineRow]) -> tuple[str | Table, ...]:
    columns = (
        *("data", "numbers", "vectors", "index", "P50 ms", "P95 ms", "recall@10"),
        *("searches/s of one core", "loading s", "vectors/s", "MiB in all", "MiB of the index"),
    )
    return (
        "Top 10 of the whole partition, one client over TCP, 300 questions, the quietest of three "
        "rounds; searches/s: 16 at a time in a pipeline, so that Redis never waits. HNSW has M 16 "
        "and EF_CONSTRUCTION 200.",
        Table(columns, tuple(_engine_row(row) for row in rows)),
    )


def _engine_row(row: EngineRow) -> tuple[str, ...]:
    head = (row.data, str(row.dimension), f"{row.size:,}", _label(row))
    if row.not_run is not None:
        return (*head, f"not run: {row.not_run}", *("-" for _ in range(7)))
    return (
        *head,
        *(f"{row.p50_ms:.2f}", f"{row.p95_ms:.2f}", f"{row.recall:.3f}"),
        *(f"{row.per_second:,.0f}", f"{row.load_s:.1f}", f"{row.size / row.load_s:,.0f}"),
        *(f"{row.used_bytes / 2**20:,.0f}", f"{row.index_bytes / 2**20:,.0f}"),
    )


def _crossing_table(rows: Sequence[EngineRow]) -> Table:
    """Compare FLAT with the cheapest HNSW of good recall, at every size that has both."""
    columns = (
        *("data", "numbers", "vectors", "FLAT P50 ms", f"HNSW P50 ms (recall >= {GOOD_RECALL:g})"),
        *("EF", "FLAT/HNSW", "FLAT vectors/s loaded", "HNSW vectors/s loaded"),
    )
    found = []
    not_run = {(r.data, r.dimension, r.size, r.algorithm) for r in rows if r.not_run is not None}
    for (data, dimension), group in _groups(rows).items():
        for size in sorted({row.size for row in group}):
            otherwise = (
                "not run" if (data, dimension, size, "HNSW") in not_run else "no EF reaches it"
            )
            flat = next((r for r in group if r.size == size and r.algorithm == "FLAT"), None)
            hnsw = next(
                (
                    r
                    for r in sorted(group, key=lambda r: r.ef or 0)
                    if r.size == size and r.algorithm == "HNSW" and r.recall >= GOOD_RECALL
                ),
                None,
            )
            if flat is not None:
                found.append((data, str(dimension), f"{size:,}", *_crossing(flat, hnsw, otherwise)))
    return Table(columns, tuple(found))


def _crossing(flat: EngineRow, hnsw: EngineRow | None, otherwise: str) -> tuple[str, ...]:
    loading = f"{flat.size / flat.load_s:,.0f}"
    if hnsw is None:
        return (f"{flat.p50_ms:.2f}", otherwise, "-", "-", loading, "-")
    return (
        *(f"{flat.p50_ms:.2f}", f"{hnsw.p50_ms:.2f}", str(hnsw.ef)),
        *(f"{flat.p50_ms / hnsw.p50_ms:.1f}", loading, f"{hnsw.size / hnsw.load_s:,.0f}"),
    )


def _service(rows: Sequence[ServiceRow]) -> tuple[str | Table, ...]:
    columns = (
        *("data", "memories", "layout", "P50 ms", "P99 ms", f"{TOGETHER} callers: P99 ms"),
        *("searches/s", "recall@10", "loading s", "memories/s", "MiB of Redis"),
    )
    return (
        f"Memories of {AGENTS} agents; each question is among one agent's. Lean client, closed "
        "loop, different questions throughout.",
        Table(columns, tuple(_service_row(row) for row in rows)),
    )


def _service_row(row: ServiceRow) -> tuple[str, ...]:
    head = (row.data, f"{row.total:,}", row.layout)
    if row.not_run is not None:
        return (*head, f"not run: {row.not_run}", *("-" for _ in range(7)))
    return (
        *head,
        *(f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}", f"{row.together_p99_ms:.2f}"),
        *(f"{row.together_per_second:,.0f}", f"{row.recall:.3f}", f"{row.load_s:.1f}"),
        *(f"{row.total / row.load_s:,.0f}", f"{row.redis_bytes / 2**20:,.0f}"),
    )
