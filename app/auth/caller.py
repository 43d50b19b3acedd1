"""The caller of the current request, and what that caller may do.

The middleware sets the caller of each request; operations check it before they touch anything. Work
without a request (background jobs, commands) runs as the service itself and may do everything.
docs/reference/security.md lists the permissions.
"""

import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import orjson
from pydantic import ConfigDict, Field

from app.errors import (
    AgentForbidden,
    InvalidInput,
    RoleForbidden,
    ScopeForbidden,
    SemanticForbidden,
)

Role = Literal["metrics", "read", "write", "admin"]
Need = Literal["metrics", "read", "write", "admin"]
"""The role that a route requires. From `read` on, each role includes the one before it."""

_RANK: dict[str, int] = {"metrics": 0, "read": 1, "write": 2, "admin": 3}


Limit = Annotated[int | None, Field(ge=1)]


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds for one caller; a key's own ones are checked by pydantic. None: no limit."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    requests_per_s: Limit = None
    concurrency: Limit = None
    body_bytes: Limit = None
    top_k: Limit = None
    batch: Limit = None
    metadata_bytes: Limit = None
    memories: Limit = None
    bytes: Limit = None


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller. `agents` must match an agent's whole name; None allows all agents.

    `agents` is compiled from `agent_names` and `agent_patterns`.
    """

    key_id: str
    role: Role
    agents: re.Pattern[str] | None = None
    agent_names: tuple[str, ...] = ()
    agent_patterns: tuple[str, ...] = ()
    cross_agent: bool = True
    semantic_write: bool = True
    require_as_of: bool = False
    limits: Limits = field(default_factory=Limits)

    def may_touch(self, agent_id: str) -> bool:
        """Return whether the caller may read and change this agent's memory."""
        return self.agents is None or self.agents.fullmatch(agent_id) is not None

    def may_ask(self, scope: str) -> bool:
        """Return whether the caller may search the memories of this scope."""
        return scope == "own" or self.agents is None or self.cross_agent

    def satisfies(self, need: Need) -> bool:
        """Return whether the caller's role is enough for a route."""
        if need == "metrics":  # they name agents
            return self.role == "metrics" or self.agents is None
        return _RANK[self.role] >= _RANK[need]


SERVICE = Principal(key_id="service", role="admin")
"""The service's own work, and commands."""

ANONYMOUS = Principal(key_id="anonymous", role="admin")
"""The caller of every request while the service asks for no keys."""

NOBODY = Principal(key_id="nobody", role="metrics", agents=re.compile("(?!)"), cross_agent=False)
"""The caller of an open route while the service asks for keys. May touch nothing."""

caller: ContextVar[Principal] = ContextVar("caller", default=SERVICE)


def agents_pattern(names: Iterable[str], globs: Iterable[str]) -> re.Pattern[str] | None:
    """Return a pattern for these names and globs (`*` matches anything). None matches all."""
    alternatives = [re.escape(name) for name in names]
    alternatives += [".*".join(map(re.escape, glob.split("*"))) for glob in globs]
    return re.compile("|".join(alternatives), re.DOTALL) if alternatives else None


def require_agent(agent_id: str) -> None:
    """Raise AgentForbidden unless the caller may touch this agent's memory."""
    if not caller.get().may_touch(agent_id):
        raise AgentForbidden(
            f"This key is not for agent {agent_id}: use a key that is.", field="agent_id"
        )


def require_all_agents() -> None:
    """Raise AgentForbidden unless the caller may touch every agent's memory."""
    if caller.get().agents is not None:
        raise AgentForbidden("This key is not for all agents: name one of its agents.")


def require_scope(scope: str) -> None:
    """Raise ScopeForbidden if the caller may not search other agents' memories but asks to."""
    if not caller.get().may_ask(scope):
        raise ScopeForbidden(
            f"This key may not ask scope {scope}: ask own, or use a key with --cross-agent.",
            field="scope",
        )


def require_semantic_write() -> None:
    """Raise SemanticForbidden unless the caller may change what the whole swarm knows."""
    asking = caller.get()
    if asking.agents is not None and not asking.semantic_write:
        raise SemanticForbidden(
            "This key may read the swarm's concepts but not change them: use a key with "
            "--semantic-write."
        )


def require_role(principal: Principal, need: Need) -> None:
    """Raise RoleForbidden unless the caller's role is enough."""
    if not principal.satisfies(need):
        raise RoleForbidden(
            f"This key's role {principal.role} is not enough: use a key with role {need}."
        )


def require_top_k(top_k: int) -> None:
    """Raise InvalidInput if the caller's key may not request this many hits."""
    _require("top_k", top_k, caller.get().limits.top_k)


def require_batch(field_name: str, items: int) -> None:
    """Raise InvalidInput if the caller's key may not send this large a batch."""
    _require(field_name, items, caller.get().limits.batch)


def require_metadata(metadata: Mapping[str, object]) -> None:
    """Raise InvalidInput if the caller's key may not store this much metadata, as JSON."""
    limit = caller.get().limits.metadata_bytes
    if limit is not None:
        _require("metadata", len(orjson.dumps(metadata)), limit)


def _require(name: str, asked: int, limit: int | None) -> None:
    if limit is not None and asked > limit:
        raise InvalidInput(f"{name}: this key's limit is {limit}, got {asked}.", field=name)
