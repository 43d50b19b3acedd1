"""Routes about the agents themselves."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from app.api import error_handlers
from app.api.body import documents_body, read_body
from app.api.dependencies import ConfirmedInMemory, ServicesDep, StrictRoute
from app.api.middleware import PathAgent
from app.api.responses import json_response
from app.contract.fields import AgentId
from app.contract.moves import AgentMove, AgentMoved
from app.storage.agent_summaries import AgentTotals, GrowthBy

router = APIRouter(prefix="/v1/agents", tags=["operations"], route_class=StrictRoute)

ACCEPTED = 202
MAX_AGENTS = 1000

Limit = Annotated[int, Query(ge=1, le=MAX_AGENTS, description="Agents per page.")]
Cursor = Annotated[
    AgentId | None, Query(description="`next_cursor` of the page before; unset: the first page.")
]


WithAsked = Annotated[bool, Query(description="true: also say who asked whom.")]
WithTimes = Annotated[
    bool,
    Query(description="false: leave out `latest`, `stored_at` and `stored_24h`, which is quicker."),
]
By = Annotated[
    GrowthBy,
    Query(description="recorded_at: when it was stored; timestamp: the moment it is about."),
]
Points = Annotated[int, Query(ge=2, le=200, description="Moments to count at.")]


class AgentSummary(BaseModel):
    """One agent's memory. Counts are null while its index is missing or being built."""

    agent_id: str
    memories: int | None
    latest: float | None = Field(description="Latest `timestamp` of its memories, unix seconds.")
    stored_at: float | None = Field(
        description=(
            "When it last stored a memory, unix seconds; null if a former release stored it."
        )
    )
    stored_24h: int | None = Field(description="How many it stored in the last 24 hours.")


class AskedPair(BaseModel):
    """How often one agent's questions were answered with another agent's memories."""

    asker: str = Field(description="The agent that asked.")
    owner: str = Field(description="The agent whose memories answered.")
    recalls: int = Field(description="Searches that they answered.")
    estimates: int = Field(description="Estimates that they answered.")
    memories: int = Field(description="Of the ten nearest memories of each answer.")


class AskedOthers(BaseModel):
    """Who asked whom, by the latest answers across agents in the process that replies."""

    pairs: list[AskedPair] = Field(description="Most memories first, at most 500.")
    answers: int = Field(description="Of how many answers: the latest, at most 1,024.")
    since: float | None = Field(description="When the first of them was given, unix seconds.")
    crowding: float | None = Field(
        description="Share of the searches among them that found one of the ten most used "
        "memories; null for a key for some agents."
    )


class Agents(BaseModel):
    """One page of agents by name."""

    agents: list[AgentSummary]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page.")
    partial: bool = Field(description="True if the agents of some groups are missing.")
    unanswered_groups: list[str] = Field(description="The groups that did not answer.")
    asked: AskedOthers | None = Field(None, description="Only if requested.")


class RegimeSummary(BaseModel):
    """The rewards of an agent's closed memories in one regime."""

    regime: str
    memories: int
    mean_reward: float = Field(description="In the twelve digits that Redis gives.")
    win_rate: float = Field(description="Share of rewards above 0.")


class AgentDetail(AgentSummary):
    """One agent with its rewards by regime."""

    regimes: list[RegimeSummary] = Field(description="The most frequent first, at most 100.")
    regimes_of: int = Field(description="They cover at most this many of the latest memories.")


@router.get(
    "",
    summary="The agents that the key may see",
    responses={200: {"model": Agents}, **error_handlers.of(422, 503, 504)},
)
async def list_agents(
    services: ServicesDep,
    cursor: Cursor = None,
    limit: Limit = 100,
    asked: WithAsked = False,
    times: WithTimes = True,
) -> Response:
    """Return names with counts and latest times, page by page."""
    page = await services.swarm.page(after=cursor, limit=limit, has_times=times)
    listed = Agents(
        agents=[AgentSummary(**_counts(found)) for found in page.agents],
        next_cursor=page.next_agent,
        partial=bool(page.silent_groups),
        unanswered_groups=list(page.silent_groups),
        asked=(
            AskedOthers.model_validate(services.swarm.asked.pairs(), from_attributes=True)
            if asked
            else None
        ),
    )
    return json_response(listed.model_dump())


class AgentGrowth(BaseModel):
    """How an agent's memory grew: columns of the same length."""

    agent_id: str
    by: GrowthBy = Field(description="Which time counts.")
    times: list[float] = Field(description="Evenly spaced, unix seconds.")
    memories: list[int] = Field(
        description="Of the memories that are there now, how many have a time up to this one."
    )
    undated: int = Field(description="Memories without such a time: they count from the beginning.")


@router.get(
    "/{agent_id}/growth",
    summary="How an agent's memory grew",
    responses={200: {"model": AgentGrowth}, **error_handlers.of(404, 422, 503, 504)},
)
async def get_growth(
    services: ServicesDep, agent_id: PathAgent, by: By = "recorded_at", points: Points = 48
) -> Response:
    """Return how many memories there were over time, by when they were stored or by their own
    moment. Deleted ones are not in it."""
    found = await services.swarm.growth(agent_id, by, points)
    return json_response({"agent_id": agent_id, "by": by, **asdict(found)})


@router.get(
    "/{agent_id}",
    summary="One agent and its rewards by regime",
    responses={200: {"model": AgentDetail}, **error_handlers.of(404, 422, 503, 504)},
)
async def get_agent(services: ServicesDep, agent_id: PathAgent) -> Response:
    """Return counts, latest times, and the rewards in each regime."""
    found = await services.swarm.detail(agent_id)
    detail = AgentDetail(
        **_counts(found.summary),
        regimes=[RegimeSummary.model_validate(r, from_attributes=True) for r in found.regimes],
        regimes_of=found.regimes_of,
    )
    return json_response(detail.model_dump())


@router.post(
    "/{agent_id}/move",
    summary="Move an agent to another group of Redis",
    dependencies=[ConfirmedInMemory],
    status_code=ACCEPTED,
    responses={ACCEPTED: {"model": AgentMoved}, **error_handlers.of(404, 422, 503, 504, 507)},
    openapi_extra=documents_body(AgentMove),
)
async def move_agent(request: Request, services: ServicesDep, agent_id: PathAgent) -> Response:
    """Ask for the move, and return how far it is; repeat the call to follow it.

    The agent works on meanwhile. Its questions are answered by the former group until everything is
    copied and compared. Writes wait for the last step, which takes milliseconds. Readers of its
    change feed take a new snapshot.
    """
    wanted = await read_body(request, AgentMove)
    move = await services.moves.move(agent_id, wanted.group)
    told = AgentMoved(
        agent_id=agent_id,
        status=move.status,
        progress=move.progress,
        from_group=move.source,
        to_group=move.target,
        detail=move.detail,
    )
    return json_response(told.model_dump(), ACCEPTED)


def _counts(found: AgentTotals) -> dict[str, Any]:
    counts = asdict(found)
    return counts | {"stored_24h": counts.pop("stored_since")}
