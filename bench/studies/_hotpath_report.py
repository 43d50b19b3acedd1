"""The report of what a question over HTTP costs beside the same question to Redis and to others."""

import math
from collections.abc import Sequence
from statistics import median

import orjson

from bench.load.http_load import HttpFigures
from bench.studies._hotpath_rows import (
    ASYNCIO,
    CHROMA,
    OWN_CLIENT,
    QDRANT,
    SERVICE,
    SYNC,
    Row,
    Side,
    median_of,
    rows_of,
)
from bench.studies._hotpath_targets import Target, targets

_TEXT = """# A question over HTTP beside the same question to Redis

{conditions}

`make bench-hotpath`: 10 agents with 1,000 memories of 256 numbers each, top 10, one FLAT index for
each agent, questions as base64, none of them answered by the cache. redis-py asks the very index,
over the socket that the service uses. Load generator: {generator}. Generator, service and Redis
share the machine; the load is a closed loop. Medians of the rounds; a ratio is the median of the
rounds' ratios.

Chroma and Qdrant hold the same memories, all agents' in one collection, and are asked the same
questions with a filter on the agent, in the same rounds. Chroma's server is asked by the same load
generator with the request that its own client would send (prepared, as the service's is), and by
its own client as well; the best of these counts. Qdrant's engine is called from Python in its
process by one caller, who makes the request within the time that is measured.

## Targets

| target | vectors | limit | measured | |
| --- | --- | ---: | ---: | --- |
{targets}
## Who was asked

Recall@10 is against brute force over float32, the worst of all measurements. The service's is of
{checked} questions before the rounds; the others' EF is raised until theirs is at least {least}.

| who | vectors | what | recall@10 |
| --- | --- | --- | ---: |
{sides}
## Figures

`us`: processor time of the service, and of Redis, for one answer. `generator`: its share of a core.

| way | vectors | workers | clients | q/s | P50 ms | P99 ms | service us | Redis us | generator |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{figures}"""

_WAYS = {
    SYNC: "redis-py, synchronous",
    ASYNCIO: "redis-py, asyncio",
    SERVICE: "the service over HTTP",
    CHROMA: "Chroma's server over HTTP",
    CHROMA + OWN_CLIENT: "Chroma's server, its own client",
    QDRANT: "Qdrant's engine in process",
}


def report(
    rows: Sequence[Row],
    sides: Sequence[Side],
    *,
    conditions: str,
    generator: str,
    checked: int,
    least: float,
) -> str:
    """Return the whole report in Markdown. `checked` questions gave the service's recall."""
    places = dict.fromkeys((row.kind, row.workers, row.way, row.clients) for row in rows)
    return _TEXT.format(
        conditions=conditions,
        generator=generator,
        checked=checked,
        least=least,
        targets="".join(_target_line(target) for target in targets(rows, sides)),
        sides="".join(_side_line(side) for side in sides),
        figures="".join(
            _line(kind, workers, way, clients, rows_of(rows, kind, workers, way, clients))
            for kind, workers, way, clients in places
        ),
    )


def as_json(rows: Sequence[Row], sides: Sequence[Side]) -> bytes:
    """Return the same for programs: targets with their verdicts, sides and rows."""
    judged = [{"is_met": target.is_met, "target": target} for target in targets(rows, sides)]
    content = {"targets": judged, "sides": sides, "rows": rows}
    return orjson.dumps(content, option=orjson.OPT_INDENT_2)


def _target_line(target: Target) -> str:
    measured = "not measured" if target.measured is None else f"{target.measured:.2f}"
    verdict = "met" if target.is_met else "not met"
    if target.why is not None:
        verdict += f": {target.why}"
    limit = f"{'at least' if target.is_least else 'at most'} {target.limit:g}"
    return f"| {target.name} | {target.kind} | {limit} | {measured} | {verdict} |\n"


def _side_line(side: Side) -> str:
    recall = "not measured" if math.isnan(side.recall) else f"{side.recall:.3f}"
    what = side.what if side.not_run is None else f"not measured: {side.not_run}"
    return f"| {_WAYS[side.way]} | {side.kind} | {what} | {recall} |\n"


def _line(kind: str, workers: int, way: str, clients: int, rows: Sequence[Row]) -> str:
    http = [row.figures for row in rows if isinstance(row.figures, HttpFigures)]
    own = " | | |"
    if http:
        service, redis = (
            "" if math.isnan(us) else f"{us:.0f}"
            for us in (median(f.service_us for f in http), median(f.redis_us for f in http))
        )
        own = f" {service} | {redis} | {median(f.generator_share for f in http):.0%} |"
    return (
        f"| {_WAYS[way]} | {kind} | {workers if way == SERVICE else ''} | {clients} | "
        f"{median_of(rows, lambda f: f.rate):,.0f} | {median_of(rows, lambda f: f.p50_ms):.2f} | "
        f"{median_of(rows, lambda f: f.p99_ms):.2f} |{own}\n"
    )
