"""The production workload's plan: who sends what when, the same for the same seed.

As the specification has it: an agent for each product asks for similar patterns every 5 seconds;
and on every trade, at random times, it asks what came of such states in this regime, and stores
the trade.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

PATTERN_INTERVAL_S = 5.0
TRADE_INTERVAL_S = 30.0
"""Mean time between an agent's trades; the times are those of a Poisson process."""

EventKind = Literal["pattern search", "trade search", "store"]


@dataclass(frozen=True, slots=True)
class Event:
    """At `due_s` after the start, `agent` sends its `item`-th state."""

    due_s: float
    agent: int
    kind: EventKind
    item: int


def trading_plan(*, agents: int, time_scale: float, seed: int, simulated_s: float) -> list[Event]:
    """Return all events in order of time. `time_scale` 60 runs an hour in a minute, 60 times as
    dense."""
    events = [e for agent in range(agents) for e in _agent_plan(agent, seed, simulated_s)]
    scaled = [Event(e.due_s / time_scale, e.agent, e.kind, e.item) for e in events]
    return sorted(scaled, key=lambda event: (event.due_s, event.agent))


def _agent_plan(agent: int, seed: int, simulated_s: float) -> list[Event]:
    generator = np.random.default_rng([seed, 4, agent])
    first = generator.uniform(0, PATTERN_INTERVAL_S)
    patterns = np.arange(first, simulated_s, PATTERN_INTERVAL_S)
    # Half as many again as expected: enough to cover the time but in one case of many millions.
    gaps = generator.exponential(TRADE_INTERVAL_S, int(simulated_s / TRADE_INTERVAL_S * 1.5) + 20)
    trades = np.cumsum(gaps)
    trades = trades[trades < simulated_s]
    items = iter(range(len(patterns) + len(trades)))
    moments = sorted([(t, False) for t in patterns] + [(t, True) for t in trades])
    events: list[Event] = []
    for due, is_trade in moments:
        item = next(items)
        if is_trade:
            events.append(Event(float(due), agent, "trade search", item))
            events.append(Event(float(due), agent, "store", item))
        else:
            events.append(Event(float(due), agent, "pattern search", item))
    return events
