"""Routes of decisions and of what the memory adds to them."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from app.api import error_handlers
from app.api.body import documents_body, read_body
from app.api.dependencies import DurabilityDep, ServicesDep, StrictRoute
from app.api.responses import json_response, model_response, with_durability
from app.contract.decisions import (
    Decide,
    Decision,
    DecisionClosed,
    DecisionOutcome,
    RecallIdText,
    Uplift,
    UpliftPage,
)
from app.contract.fields import AgentId

router = APIRouter(prefix="/v1", tags=["episodic"], route_class=StrictRoute)

MAX_AGENTS = 1000
CREATED, OK = 201, 200


@router.post(
    "/decisions",
    summary="Post an agent's decision after a recall",
    status_code=CREATED,
    responses={
        OK: {"model": Decision, "description": "It was posted before, or it does not count."},
        CREATED: {"model": Decision},
        **error_handlers.of(404, 409, 422, 503, 507),
    },
    openapi_extra=documents_body(Decide),
)
async def decide(request: Request, services: ServicesDep, durability: DurabilityDep) -> Response:
    """Open a decision. Not needed if a memory is stored under the recall's id: that memory is the
    decision, and its outcome closes it."""
    decision = await services.decisions.decide(await read_body(request, Decide))
    answer = json_response(decision.model_dump(), CREATED if decision.created else OK)
    return with_durability(answer, durability)


@router.post(
    "/decisions/{recall_id}/outcome",
    summary="Post the outcome of a decision",
    responses={OK: {"model": DecisionClosed}, **error_handlers.of(404, 409, 422, 503)},
    openapi_extra=documents_body(DecisionOutcome),
)
async def close_decision(
    request: Request,
    services: ServicesDep,
    durability: DurabilityDep,
    recall_id: Annotated[RecallIdText, Path()],
) -> Response:
    """Close an open decision and count its reward. The same reward again changes nothing."""
    outcome = await read_body(request, DecisionOutcome)
    closed = await services.decisions.close(recall_id, outcome)
    return with_durability(model_response(closed), durability)


@router.get(
    "/uplift",
    summary="What the memory adds to decisions",
    responses={OK: {"model": Uplift | UpliftPage}, **error_handlers.of(422, 503)},
)
async def uplift(
    services: ServicesDep,
    agent_id: Annotated[AgentId | None, Query(description="Unset: a page of all agents.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_AGENTS, description="Agents per page.")] = 100,
    cursor: Annotated[
        AgentId | None,
        Query(description="`next_cursor` of the page before; unset: the first page."),
    ] = None,
) -> Response:
    """Compare the rewards of an agent's decisions with the memory, without it, and with a placebo.

    The answer is for the agent as a whole, by product and by regime; without `agent_id`, for each
    agent that the caller may see, as a whole. The intervals are valid at all times at once.
    """
    if agent_id is not None:
        return model_response(await services.decisions.report(agent_id))
    return model_response(await services.decisions.page(after=cursor, limit=limit))
