"""Tells a caller what its key allows."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from app.api.dependencies import StrictRoute
from app.api.responses import json_response
from app.auth.caller import Role, caller

router = APIRouter(tags=["operations"], route_class=StrictRoute)


class Identity(BaseModel):
    """What a key allows. Null: no limit."""

    key_id: str = Field(description="`anonymous` while the service asks for no keys.")
    role: Role
    agents: list[str] | None = Field(
        description="Whose memories it may touch; `*` in a name stands for anything. Null: all."
    )
    cross_agent: bool = Field(description="Whether it may ask other agents' memories.")
    semantic_write: bool = Field(description="Whether it may change the swarm's concepts.")
    require_as_of: bool = Field(description="Whether each question must carry `as_of`.")
    limits: dict[str, Any]


@router.get("/v1/whoami", summary="What the key may do", responses={200: {"model": Identity}})
async def whoami() -> Response:
    """Return the role, agents and limits of the calling key."""
    asking = caller.get()
    identity = Identity(
        key_id=asking.key_id,
        role=asking.role,
        agents=None if asking.agents is None else [*asking.agent_names, *asking.agent_patterns],
        cross_agent=asking.agents is None or asking.cross_agent,
        semantic_write=asking.agents is None or asking.semantic_write,
        require_as_of=asking.require_as_of,
        limits=asdict(asking.limits),
    )
    return json_response(identity.model_dump())
