"""Operations on the service itself."""

from typing import Any
from urllib.parse import urlencode

import msgspec

from coinswarm_memory.answers.service import AgentSummary, Identity
from coinswarm_memory.operations.request import Operation, Reply, Request, reading


class AgentPage(msgspec.Struct, frozen=True):
    """One page of agents."""

    agents: list[AgentSummary]
    next_cursor: str | None = None


NOT_READY = 503

_json = reading(dict[str, Any])
_identity = reading(Identity)
_agents = reading(AgentPage)


def stats(agent_id: str | None) -> Operation[dict[str, Any]]:
    """Count what is stored."""
    asked = "" if agent_id is None else f"?{urlencode({'agent_id': agent_id})}"
    return Operation(Request("GET", f"/v1/stats{asked}"), _json)


def readiness() -> Operation[dict[str, Any]]:
    """Name each part of the service and its state."""
    return Operation(Request("GET", "/readyz"), _json)


def whoami() -> Operation[Identity]:
    """Say who the caller is."""
    return Operation(Request("GET", "/v1/whoami"), _identity)


def agents(cursor: str | None, limit: int) -> Operation[AgentPage]:
    """List the agents that the caller may see, one page."""
    asked = {"limit": str(limit)} | ({} if cursor is None else {"cursor": cursor})
    return Operation(Request("GET", f"/v1/agents?{urlencode(asked)}"), _agents)


def dimension() -> Operation[int | None]:
    """Say how many numbers a vector has; None if the service does not know yet.

    A service that is not ready says so with status 503, and may still know the dimension.
    """
    return Operation(Request("GET", "/readyz"), _read_dimension, answered_by=frozenset({NOT_READY}))


def _read_dimension(reply: Reply) -> int | None:
    try:
        parts = _json(reply).get("parts", {})
    except msgspec.MsgspecError:
        if reply.status == NOT_READY:  # from a proxy in front of the service
            return None
        raise
    for part in parts.values():
        if isinstance(part, dict) and isinstance(part.get("dimension"), int):
            return int(part["dimension"])
    return None
