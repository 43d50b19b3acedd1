"""Routes for operators: health, stats, slow queries and retention."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from app.api import error_handlers
from app.api.body import documents_body, read_body
from app.api.dependencies import DurabilityDep, ServicesDep, StrictRoute
from app.api.responses import json_response, model_response, with_durability
from app.auth.caller import caller
from app.contract.answers import Liveness, Readiness
from app.contract.fields import AgentId
from app.contract.retention import Retention, RetentionAnswer
from app.contract.stats import Stats

router = APIRouter(tags=["operations"], route_class=StrictRoute)

MAX_ENTRIES = 1000

EntryLimit = Annotated[
    int, Query(ge=1, le=MAX_ENTRIES, description="How many of the latest entries, over all nodes.")
]


class SlowQuery(BaseModel):
    """One command that took longer than MEMORY_SLOWLOG_SLOWER_THAN_US."""

    node: str
    at: float = Field(description="When it ran, unix seconds.")
    took_ms: float = Field(description="Time in Redis, without waiting or the network.")
    kind: str = Field(
        description="vector_similarity, semantic_similarity, range, semantic_range, count, "
        "listing, write, read, index or other."
    )
    command: str = Field(description="Name of the Redis command.")
    agent_id: str | None = Field(description="Null if it does not concern a single agent's memory.")
    filters: dict[str, Any] = Field(description="The conditions of the question.")
    cut: bool = Field(description="True: Redis kept only the beginning of the filters.")


class SlowQueryLog(BaseModel):
    """The slow logs of all nodes, newest first."""

    slow_queries: list[SlowQuery]
    silent_nodes: list[str] = Field(description="Nodes that did not answer.")


@router.get(
    "/v1/slow-queries",
    summary="Commands that Redis found slow",
    responses={200: {"model": SlowQueryLog}, **error_handlers.of(422)},
)
async def list_slow_queries(services: ServicesDep, limit: EntryLimit = 100) -> Response:
    """Return every node's slow log, decoded: agent, kind of question, filters, duration; no
    vectors.

    A key that is bound to agents sees only its own agents' entries.
    """
    asking = caller.get()
    calls, silent = await services.slow_log.read(limit if asking.agents is None else MAX_ENTRIES)
    found = [
        SlowQuery.model_validate(call, from_attributes=True)
        for call in calls
        if asking.agents is None or (call.agent_id and asking.may_touch(call.agent_id))
    ][:limit]
    return json_response(SlowQueryLog(slow_queries=found, silent_nodes=silent).model_dump())


MAX_AGENTS = 1000

AgentLimit = Annotated[int, Query(ge=1, le=MAX_AGENTS, description="Agents per page.")]
OneAgent = Annotated[AgentId | None, Query(description="Only this agent.")]
Cursor = Annotated[
    AgentId | None, Query(description="`next_cursor` of the page before; unset: the first page.")
]


@router.get(
    "/v1/stats",
    summary="What is stored, per agent and per index",
    responses={200: {"model": Stats}, **error_handlers.of(422, 503, 504)},
)
async def get_stats(
    services: ServicesDep, agent_id: OneAgent = None, cursor: Cursor = None, limit: AgentLimit = 100
) -> Response:
    """Return agents by name, a page at a time, with their indexes. The totals cover all agents."""
    page = await services.stats.page(agent_id=agent_id, after=cursor, limit=limit)
    return json_response(page.model_dump())


@router.post(
    "/v1/retention",
    summary="Prune by age and rules",
    responses={200: {"model": RetentionAnswer}, **error_handlers.of(422, 503, 504)},
    openapi_extra=documents_body(Retention),
)
async def run_retention(
    request: Request, services: ServicesDep, durability: DurabilityDep
) -> Response:
    """Report what the rules would remove and why; remove it with `dry_run: false`.

    Experiences are judged by their age. A concept stays if its Sharpe ratio is above the limit, if
    enough searches found it in the last 30 days, or while it is younger than `min_age_days`. Pinned
    memories always stay.
    """
    wanted = await read_body(request, Retention)
    return with_durability(model_response(await services.retention.run(wanted)), durability)


health_router = APIRouter(tags=["health"])

NOT_READY = 503


@health_router.head("/livez", include_in_schema=False)
@health_router.get("/livez", summary="The process runs", responses={200: {"model": Liveness}})
async def get_livez() -> Response:
    """Answer 200 as long as the process can answer at all."""
    return json_response({"status": "ok"})


@health_router.head("/readyz", include_in_schema=False)
@health_router.get(
    "/readyz",
    summary="Every part is ready",
    responses={200: {"model": Readiness}, 503: {"model": Readiness, "description": "Not ready"}},
)
async def get_readyz(services: ServicesDep) -> Response:
    """Return the state of each part; 503 if a required part failed."""
    report = await services.health.report()
    return json_response(report.as_json(), status=200 if report.is_ready else NOT_READY)
