"""The report of what each stage of the read path buys and costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.load.closed_loop import Figures
from bench.studies._workloads import (
    AGENTS,
    BURST,
    MEMORIES,
    POOL,
    REPEAT_SHARE,
    REPEATED_FROM,
    SEARCH,
    TOP_K,
    WORKLOADS,
    WRITE_SHARE,
)

DEFAULT = "all"
CONTROL = "all, a second time"

_DESCRIBED = {
    "distinct": "every question is new: cache and single flight can only cost.",
    "mixed": f"{WRITE_SHARE:.0%} stores; {REPEAT_SHARE:.0%} repeat one of the latest "
    f"{REPEATED_FROM} questions; the rest is new.",
    "bursts": f"{BURST} clients of an agent ask the same new question at the same moment (one "
    "agent: as distinct).",
}

_TEXT = f"""# What each stage of the read path buys and costs

{{conditions}}

`make bench-stages`: {AGENTS} agents with {MEMORIES:,} memories of 256 numbers each, top {TOP_K},
one FLAT index for each agent, questions as base64. Each variant is a service with an embedded
Redis of its own. Generator, service and Redis share the machine. The load is a closed loop: each
client asks again as soon as it is answered, so queries per second (q/s) and latency are two sides
of one figure. Latency is seen by the client, over HTTP. {{generator}}

A cell is the median of the rounds: q/s, p50 ms, p99 ms of searches (stores beside them are not
counted), and the processor time that the service and its Redis used for each request, in us, which
other work on the machine disturbs least (Linux only). {POOL:,} questions come in the same order.

{{tables}}
## What each stage buys where it is on by default

Every stage, against every stage but this one, in percent: processor time for each request, and in
brackets queries per second; the medians of each round's changes. The last row compares the default
with itself, so it shows what noise alone does. What is not beyond the largest change of that row
({{noise:.0f}} % of processor time, {{rate_noise:.0f}} % of q/s) is not known to be there; the
sentences below go by processor time.

{{checks}}
{{verdicts}}
## What this does not show

- The balancer and the breakers are there for failing and late nodes, not for speed: their row is
  their price. What they are worth is what the replica tests show: no failed request when a replica
  dies.
- Replicas share this machine's cores with everything else, so they cannot add any; on machines of
  their own they add reads. A replica also answers nothing about an agent until it is seen to have
  that agent's latest write.
- Within {{seconds:g}} s a question comes back sooner than it may in a market. How much a cache
  answers depends on how often the same question is asked between two writes of the same agent.
- One service process. More workers share one port and one Redis; each has stages of its own.
"""


@dataclass(frozen=True, slots=True)
class Cell:
    """One place in the tables."""

    variant: str
    workload: str
    agents: int


Measured = dict[Cell, list[Figures]]


@dataclass(frozen=True, slots=True)
class StageCheck:
    """A stage, the variant that has all stages but this one, and the stage's setting."""

    stage: str
    without: str
    setting: str


def report(
    measured: Measured,
    checks: Sequence[StageCheck],
    *,
    conditions: str,
    concurrency: Sequence[int],
) -> str:
    """Return the whole report in Markdown."""
    every = [figures for runs in measured.values() for figures in runs]
    share = median(figures.generator_share for figures in every)
    highest = max(figures.generator_share for figures in every)
    places = [(workload, agents) for workload in WORKLOADS for agents in concurrency]
    noise = max(abs(_cost_change(measured, CONTROL, place)) for place in places)
    rate_noise = max(abs(_rate_change(measured, CONTROL, place)) for place in places)
    return _TEXT.format(
        conditions=conditions,
        generator=f"The generator (asyncio on uvloop) took {share:.0%} of one core in the median, "
        f"{highest:.0%} at most.",
        tables="\n".join(_table(measured, workload, concurrency) for workload in WORKLOADS),
        noise=noise,
        rate_noise=rate_noise,
        checks=_check_table(measured, checks, places),
        verdicts="".join(_verdict(measured, check, places, noise) for check in checks),
        seconds=every[0].elapsed_s,
    )


def _table(measured: Measured, workload: str, concurrency: Sequence[int]) -> str:
    names = list(dict.fromkeys(cell.variant for cell in measured))
    heads = [f"{n} agent{'s' * (n > 1)}: q/s" for n in concurrency]
    lines = [
        f"## {workload.capitalize()}\n\n{_DESCRIBED[workload].capitalize()}\n",
        "| variant | "
        + " | ".join(f"{head} | p50 | p99 | us" for head in heads)
        + " | from cache |",
        "| --- |" + " ---: |" * (4 * len(concurrency) + 1),
    ]
    for name in names:
        cells = [Cell(name, workload, agents) for agents in concurrency]
        figures = [
            f"{_median(measured[cell], lambda f: f.rate_of(SEARCH)):,.0f} | "
            f"{_median(measured[cell], lambda f: f.percentile_ms(SEARCH, 50)):.2f} | "
            f"{_median(measured[cell], lambda f: f.percentile_ms(SEARCH, 99)):.2f} | "
            f"{_median(measured[cell], lambda f: f.processor_us):.0f}"
            for cell in cells
        ]
        runs = [run for cell in cells for run in measured[cell]]
        cached = sum(run.cached for run in runs) / sum(len(r.latencies_ms[SEARCH]) for r in runs)
        label = f"**{name}** (default)" if name == DEFAULT else name
        lines.append(f"| {label} | {' | '.join(figures)} | {cached:.0%} |")
    return "\n".join(lines) + "\n"


def _check_table(
    measured: Measured, checks: Sequence[StageCheck], places: Sequence[tuple[str, int]]
) -> str:
    rows = [(check.stage, check.without) for check in checks] + [("(nothing: noise)", CONTROL)]
    lines = [
        "| stage | " + " | ".join(f"{workload}, {agents}" for workload, agents in places) + " |",
        "| --- |" + " ---: |" * len(places),
    ]
    for stage, without in rows:
        changes = [
            f"{_cost_change(measured, without, place):+.0f} "
            f"({_rate_change(measured, without, place):+.0f})"
            for place in places
        ]
        lines.append(f"| {stage} | {' | '.join(changes)} |")
    return "\n".join(lines) + "\n"


def _verdict(
    measured: Measured, check: StageCheck, places: Sequence[tuple[str, int]], noise: float
) -> str:
    changes = {place: _cost_change(measured, check.without, place) for place in places}
    gains = [f"{w} {n} ({c:+.0f} %)" for (w, n), c in changes.items() if c < -noise]
    losses = [f"{w} {n} ({c:+.0f} %)" for (w, n), c in changes.items() if c > noise]
    bought = f"saves work in {', '.join(gains)}" if gains else "saves no work beyond noise"
    cost = f"costs work in {', '.join(losses)}" if losses else "costs none beyond noise"
    return f"- **{check.stage}** (`MEMORY_{check.setting.upper()}`): {bought}; {cost}.\n"


def _cost_change(measured: Measured, without: str, place: tuple[str, int]) -> float:
    return _change(measured, without, place, lambda figures: figures.processor_us)


def _rate_change(measured: Measured, without: str, place: tuple[str, int]) -> float:
    return _change(measured, without, place, lambda figures: figures.rate_of(SEARCH))


def _change(
    measured: Measured, without: str, place: tuple[str, int], figure: Callable[[Figures], float]
) -> float:
    """Return by what percentage the default's figure differs from that without the stage."""
    on, off = measured[Cell(DEFAULT, *place)], measured[Cell(without, *place)]
    # The two of one round meet about the same machine.
    pairs = zip(on, off, strict=True)
    return median((figure(a) / figure(b) - 1) * 100 for a, b in pairs)


def _median(runs: Sequence[Figures], figure: Callable[[Figures], float]) -> float:
    return median(map(figure, runs))
