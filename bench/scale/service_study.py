"""The same through the service: an index for each agent against one for all."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.bodies import SEARCH, search_bodies
from bench.data import DataKind, Workload, workload
from bench.filling import FillError, fill
from bench.http_client import post_request
from bench.latency import summarise
from bench.measurement import check_searches
from bench.open_loop import closed_loop, run_precisely
from bench.processor_time import REDIS, resident_bytes, wait_until_idle
from bench.progress import Say
from bench.service import RunningService, ServiceStartError, running_service

AGENTS = 20
LAYOUTS = ("per_agent", "shared")
QUERIES = 500
TOGETHER = 10
WARM_UP = 50


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """`total` memories of 20 agents. `p50_ms` by one caller, `together_*` by ten at once."""

    data: DataKind
    total: int
    layout: str
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    together_p99_ms: float = 0.0
    together_per_second: float = 0.0
    recall: float = 0.0
    load_s: float = 0.0
    redis_bytes: int = 0
    not_run: str | None = None


def study_service(
    totals: Sequence[int], *, data: DataKind, seed: int, say: Say
) -> list[ServiceRow]:
    """Measure every total in both layouts, each on a service of its own."""
    rows = []
    for total in totals:
        made = workload(
            data,
            name="scale",
            agents=AGENTS,
            memories_each=total // AGENTS,
            questions=2 * (QUERIES + WARM_UP),
            dimension=256,
            seed=seed,
        )
        for layout in LAYOUTS:
            row = _measure(made, data, total, layout)
            say(f"{total:,} {data} memories of {AGENTS} agents, {layout}: {_sentence(row)}")
            rows.append(row)
    return rows


def _measure(made: Workload, data: DataKind, total: int, layout: str) -> ServiceRow:
    try:
        with running_service({"MEMORY_LAYOUT": layout}) as service:
            return _on(service, made, data, layout)
    except (FillError, ServiceStartError) as error:
        return ServiceRow(data, total, layout, not_run=str(error))


def _on(service: RunningService, made: Workload, data: DataKind, layout: str) -> ServiceRow:
    watched = service.processes()
    before = resident_bytes(watched[REDIS])
    filled = fill(service.url, made, lambda _: None)
    wait_until_idle(watched)
    memory = resident_bytes(watched[REDIS]) - before
    alone = run_precisely(
        lambda: closed_loop(
            service.url,
            _requests(service.url, made, 1, QUERIES, first=0),
            kind="search",
            warm_up=WARM_UP,
            watched=watched,
        )
    )
    together = run_precisely(
        lambda: closed_loop(
            service.url,
            _requests(service.url, made, TOGETHER, QUERIES // 2, first=QUERIES + WARM_UP),
            kind="search",
            warm_up=WARM_UP,
            watched=watched,
        )
    )
    first = summarise([r.done_ms - r.sent_ms for r in alone.requests if r.is_ok])
    second = summarise([r.done_ms - r.sent_ms for r in together.requests if r.is_ok])
    return ServiceRow(
        data=data,
        total=made.total,
        layout=layout,
        p50_ms=first.p50_ms,
        p99_ms=first.p99_ms,
        together_p99_ms=second.p99_ms,
        together_per_second=second.count / together.processor.wall_s,
        recall=check_searches(together, made).recall or 0.0,
        load_s=filled.seconds,
        redis_bytes=memory,
    )


def _requests(
    url: str, made: Workload, agents: int, each: int, *, first: int
) -> list[list[tuple[int, bytes]]]:
    """Return each agent's warm-up and questions; it is asked none of them twice."""
    bodies = search_bodies(made.agent_ids[0], made.asked.vectors)
    requests = []
    for agent in range(agents):
        own = bodies.of_agent(made.agent_ids[agent])
        items = range(first, first + each + WARM_UP)
        requests.append([(item, post_request(url, SEARCH, own[item])) for item in items])
    return requests


def _sentence(row: ServiceRow) -> str:
    if row.not_run is not None:
        return f"not run: {row.not_run}"
    return (
        f"P50 {row.p50_ms:.2f} ms; {TOGETHER} callers P99 {row.together_p99_ms:.1f} ms, "
        f"{row.together_per_second:,.0f}/s; recall {row.recall:.3f}; loaded in {row.load_s:.1f} s"
    )
