"""The report of what a question over HTTP costs beside the same question to Redis."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.studies._http_load import HttpFigures
from bench.studies._raw_redis import RawFigures

MAX_SINGLE_RATIO = 1.8
MIN_RATE_SHARE = 0.40
MAX_TAIL = 3.0

_TEXT = """# A question over HTTP beside the same question to Redis

{conditions}

`make bench-hotpath`: 10 agents with 1,000 memories of 256 numbers each, top 10, one FLAT index for
each agent, questions as base64, none of them answered by the cache. redis-py asks the very index,
over the socket that the service uses. Load generator: {generator}. Generator, service and Redis
share the machine; the load is a closed loop. Medians of the rounds; a ratio is the median of the
rounds' ratios.

## Targets

| target | vectors | limit | measured | |
| --- | --- | ---: | ---: | --- |
{targets}
At least 10 times Chroma's server with a filter by agent, and P50 not worse than Qdrant's engine in
process, are judged on `make compare`'s report, where they run.

## Figures

`us`: processor time of the service, and of Redis, for one answer. `generator`: its share of a core.

| way | vectors | workers | clients | q/s | P50 ms | P99 ms | service us | Redis us | generator |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{figures}"""

_WAYS = {
    "sync": "redis-py, synchronous",
    "asyncio": "redis-py, asyncio",
    "http": "the service over HTTP",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. `way`: sync, asyncio or http."""

    kind: str
    workers: int
    round: int
    way: str
    clients: int
    figures: RawFigures | HttpFigures


@dataclass(frozen=True, slots=True)
class Target:
    """A figure against its limit."""

    name: str
    kind: str
    limit: float
    measured: float
    is_met: bool


def targets(rows: Sequence[Row]) -> list[Target]:
    """Each target, on each kind of vectors that was measured."""
    found = []
    for kind in dict.fromkeys(row.kind for row in rows):
        single = _ratio(rows, kind, 1, "sync", lambda f: f.p50_ms)
        found.append(
            Target(
                "one client: P50 against redis-py's",
                kind,
                MAX_SINGLE_RATIO,
                single,
                single <= MAX_SINGLE_RATIO,
            )
        )
        for clients in (16, 50):
            share = _ratio(rows, kind, clients, "asyncio", lambda f: f.rate)
            name = f"{clients} clients: q/s against redis-py's asyncio client's"
            found.append(Target(name, kind, MIN_RATE_SHARE, share, share >= MIN_RATE_SHARE))
        for clients in (1, 16, 50):
            tail = _median(_of(rows, kind, 1, "http", clients), lambda f: f.p99_ms / f.p50_ms)
            name = f"{clients} clients: P99 against P50"
            found.append(Target(name, kind, MAX_TAIL, tail, tail <= MAX_TAIL))
    return found


def report(rows: Sequence[Row], *, conditions: str, generator: str) -> str:
    """The whole report in Markdown."""
    lines = [
        f"| {t.name} | {t.kind} | {t.limit:g} | {t.measured:.2f} | "
        f"{'met' if t.is_met else 'not met'} |\n"
        for t in targets(rows)
    ]
    places = dict.fromkeys((row.kind, row.workers, row.way, row.clients) for row in rows)
    return _TEXT.format(
        conditions=conditions,
        generator=generator,
        targets="".join(lines),
        figures="".join(
            _line(kind, workers, way, clients, _of(rows, kind, workers, way, clients))
            for kind, workers, way, clients in places
        ),
    )


def _line(kind: str, workers: int, way: str, clients: int, rows: Sequence[Row]) -> str:
    http = [row.figures for row in rows if isinstance(row.figures, HttpFigures)]
    own = " | | |"
    if http:
        own = (
            f" {median(f.service_us for f in http):.0f} | {median(f.redis_us for f in http):.0f} |"
            f" {median(f.generator_share for f in http):.0%} |"
        )
    return (
        f"| {_WAYS[way]} | {kind} | {workers if way == 'http' else ''} | {clients} | "
        f"{_median(rows, lambda f: f.rate):,.0f} | {_median(rows, lambda f: f.p50_ms):.2f} | "
        f"{_median(rows, lambda f: f.p99_ms):.2f} |{own}\n"
    )


Figure = Callable[[RawFigures | HttpFigures], float]


def _of(rows: Sequence[Row], kind: str, workers: int, way: str, clients: int) -> list[Row]:
    place = (kind, workers, way, clients)
    return [row for row in rows if (row.kind, row.workers, row.way, row.clients) == place]


def _median(rows: Sequence[Row], figure: Figure) -> float:
    return median(figure(row.figures) for row in rows)


def _ratio(rows: Sequence[Row], kind: str, clients: int, raw_way: str, figure: Figure) -> float:
    """The service's figure, of one worker, divided by redis-py's of the same round."""
    over_http = _of(rows, kind, 1, "http", clients)
    raw = _of(rows, kind, 1, raw_way, clients)
    return median(
        figure(a.figures) / figure(b.figures) for a, b in zip(over_http, raw, strict=True)
    )
