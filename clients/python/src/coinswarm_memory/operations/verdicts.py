"""Operations that ask whether the memory helps."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from coinswarm_memory.answers.verdicts import (
    Decision,
    DecisionClosed,
    Evaluation,
    Uplift,
    UpliftFigures,
)
from coinswarm_memory.operations.jobs import Jobs
from coinswarm_memory.operations.request import Operation, Request, escaped, post, reading


class UpliftPage(msgspec.Struct, frozen=True):
    """One page of agents with closed decisions."""

    agents: list[UpliftFigures]
    next_cursor: str | None = None


EVALUATIONS = Jobs("/v1/evaluate", "evaluation", reading(Evaluation))

_decision = reading(Decision)
_closed = reading(DecisionClosed)
_uplift = reading(Uplift)
_page = reading(UpliftPage)


def decide(decision: Mapping[str, Any]) -> Operation[Decision]:
    """Post an agent's decision after a recall."""
    return Operation(post("/v1/decisions", decision), _decision)


def close_decision(recall_id: str, outcome: Mapping[str, Any]) -> Operation[DecisionClosed]:
    """Post the outcome of a decision."""
    return Operation(post(f"/v1/decisions/{escaped(recall_id)}/outcome", outcome), _closed)


def uplift(agent_id: str) -> Operation[Uplift]:
    """Ask what the memory adds to an agent's decisions."""
    return Operation(Request("GET", f"/v1/uplift?{urlencode({'agent_id': agent_id})}"), _uplift)


def uplifts(cursor: str | None, limit: int) -> Operation[UpliftPage]:
    """Ask the same of the agents that the caller may see, one page."""
    asked = {"limit": str(limit)} | ({} if cursor is None else {"cursor": cursor})
    return Operation(Request("GET", f"/v1/uplift?{urlencode(asked)}"), _page)
