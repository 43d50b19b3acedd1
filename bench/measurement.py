"""One row of the report: what a run measured, and whether its answers were right."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from bench.data import Workload
from bench.latency import LatencySummary, percentiles, summarise
from bench.processor_time import GENERATOR, OTHERS, REDIS, SERVICE
from bench.recall import TOP_K, kth_distances, recall_of
from bench.samples import Answer, Request, Samples
from bench.trading_bodies import TradingDay
from bench.trading_day import Event, EventKind

Loop = Literal["Locust, closed loop", "lean client, closed loop", "lean client, open loop"]

MAX_TRADING_CHECKS = 400
"""Each builds the set of memories that were there at that moment."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Answers compared with brute force. `recall` None: there was nothing to compare."""

    answers: int = 0
    recall: float | None = None
    approximate: int = 0
    partial: int = 0
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Measurement:
    """`rate` is requests a second; processors are how many were busy on average.

    `send_lag_p99_ms`: how late requests left the generator, 99 % of them at most.
    """

    phase: int
    variant: str
    what: str
    data: str
    agents: int
    loop: Loop
    latency: LatencySummary
    rate: float
    checked: Checked
    failures: dict[str, int] = field(default_factory=dict)
    generator_processors: float = 0.0
    service_processors: float = 0.0
    redis_processors: float = 0.0
    other_processors: float = 0.0
    send_lag_p99_ms: float = 0.0


def measure(
    samples: Samples,
    checked: Checked,
    *,
    phase: int,
    variant: str,
    what: str,
    data: str,
    agents: int,
    loop: Loop,
    kind: str | None = None,
) -> Measurement:
    """Return the row for the requests of `kind` (None: all). Failed ones have no latency.

    Raises ValueError when no request succeeded.
    """
    requests = [r for r in samples.requests if kind is None or r.kind == kind]
    answered = [r for r in requests if r.is_ok]
    processor = samples.processor
    return Measurement(
        phase=phase,
        variant=variant,
        what=what,
        data=data,
        agents=agents,
        loop=loop,
        latency=summarise([r.done_ms - r.due_ms for r in answered]),
        rate=len(answered) / processor.wall_s,
        checked=checked,
        failures=dict(samples.failures),
        generator_processors=processor.cores(GENERATOR),
        service_processors=processor.cores(SERVICE),
        redis_processors=processor.cores(REDIS),
        other_processors=processor.cores(OTHERS),
        send_lag_p99_ms=float(percentiles([r.sent_ms - r.due_ms for r in requests], [99])[0]),
    )


def check_searches(samples: Samples, workload: Workload) -> Checked:
    """Check phases 1 and 2: agents' memories do not change while they are asked."""
    recalls: list[float] = []
    by_agent: dict[int, list[Answer]] = {}
    for answer in samples.answers:
        by_agent.setdefault(samples.requests[answer.request].agent, []).append(answer)
    for agent, answers in by_agent.items():
        stored = workload.stored[agent].vectors
        items = [samples.requests[a.request].item for a in answers]
        asked = workload.asked.vectors[items]
        kth = kth_distances(stored, asked)
        for answer, query, distance in zip(answers, asked, kth, strict=True):
            rows = [int(memory_id) for memory_id in answer.ids]
            recalls.append(recall_of(stored, query, rows, float(distance)))
    return _checked(samples.answers, recalls)


def check_trading(samples: Samples, day: TradingDay, kind: EventKind) -> Checked:
    """Check phase 3: a search must choose from what was stored when it was sent."""
    requests = samples.requests
    wanted = f"phase 3: {kind}"
    answers = [a for a in samples.answers if requests[a.request].kind == wanted]
    stores = [r for r in requests if r.kind == "phase 3: store" and r.is_ok]
    step = max(1, len(answers) // MAX_TRADING_CHECKS)
    recalls = [_trading_recall(a, requests, stores, day, kind) for a in answers[::step]]
    return _checked(answers[::step], recalls)


def _trading_recall(
    answer: Answer,
    requests: Sequence[Request],
    stores: Sequence[Request],
    day: TradingDay,
    kind: EventKind,
) -> float:
    asked = requests[answer.request]
    event = Event(asked.due_ms / 1000, asked.agent, kind, asked.item)
    own = [s for s in stores if s.agent == asked.agent]

    def events(among: Sequence[Request]) -> list[Event]:
        return [Event(s.due_ms / 1000, s.agent, "store", s.item) for s in among]

    certain, _ = day.candidates(event, events([s for s in own if s.done_ms <= asked.sent_ms]))
    possible, rows = day.candidates(event, events([s for s in own if s.sent_ms <= asked.done_ms]))
    query = day.question(event)
    if not len(certain):
        return 1.0
    (distance,) = kth_distances(certain, query[np.newaxis])
    # An id that cannot be there (another agent's, another regime's) is a wrong answer.
    found = [rows[memory_id] for memory_id in answer.ids if memory_id in rows]
    wanted = min(TOP_K, len(certain))
    return recall_of(possible, query, found, float(distance), k=wanted)


def _checked(answers: Sequence[Answer], recalls: Sequence[float]) -> Checked:
    return Checked(
        answers=len(recalls),
        recall=float(np.mean(recalls)) if recalls else None,
        approximate=sum(not a.is_exact for a in answers),
        partial=sum(a.is_partial for a in answers),
        cached=sum(a.is_cached for a in answers),
    )
