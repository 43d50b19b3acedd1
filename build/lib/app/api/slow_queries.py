"""What Redis found slow."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from app.access import caller
from app.api import problems
from app.api.dependencies import ServicesDep
from app.api.render import json_response

router = APIRouter(tags=["operations"])

MAX_ENTRIES = 1000

Limit = Annotated[int, Query(ge=1, le=MAX_ENTRIES, description="Latest entries over all nodes.")]


class SlowQuery(BaseModel):
    """One command that took longer than MEMORY_SLOWLOG_SLOWER_THAN_US."""

    node: str
    at: float = Field(description="When it ran, unix seconds.")
    took_ms: float = Field(description="Time in Redis, without waiting and network.")
    kind: str = Field(
        description="vector_similarity, semantic_similarity, range, semantic_range, count, "
        "listing, write, read, index or other."
    )
    command: str = Field(description="Name of the Redis command.")
    agent_id: str | None = Field(description="Null: not about one agent's memory.")
    filters: dict[str, Any] = Field(description="The conditions of the question.")
    cut: bool = Field(description="True: Redis kept only the beginning of the filters.")


class SlowQueries(BaseModel):
    """The slow logs of all nodes, newest first."""

    slow_queries: list[SlowQuery]
    silent_nodes: list[str] = Field(description="Nodes that did not answer.")


@router.get(
    "/v1/slow-queries",
    summary="What Redis found slow",
    responses={200: {"model": SlowQueries}, **problems.of(422)},
)
async def slow_queries(services: ServicesDep, limit: Limit = 100) -> Response:
    """The slow log of every node, decoded: agent, kind of question, filters, time. No vectors.

    A key that is bound to agents sees those of its own agents.
    """
    asking = caller.get()
    calls, silent = await services.slow_log.read(limit if asking.agents is None else MAX_ENTRIES)
    found = [
        SlowQuery.model_validate(call, from_attributes=True)
        for call in calls
        if asking.agents is None or (call.agent_id and asking.may_touch(call.agent_id))
    ][:limit]
    return json_response(SlowQueries(slow_queries=found, silent_nodes=silent).model_dump())
