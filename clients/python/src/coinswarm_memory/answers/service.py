"""The service itself: who asks, and which agents there are."""

from typing import Any

import msgspec


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What the service knows of the caller's key. `agents` None: all of them."""

    role: str
    agents: list[str] | None = None
    key_id: str | None = None
    limits: dict[str, Any] = {}


class AgentSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One agent's memory. `latest` is the latest time of its experiences, unix seconds."""

    agent_id: str
    memories: int | None = None
    latest: float | None = None
