"""Routes of learned distances."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.api import error_handlers
from app.api.body import documents_body, read_body
from app.api.dependencies import AsOfQuery, ConfirmedInMemory, ServicesDep, StrictRoute
from app.api.middleware import PathMetric
from app.api.responses import json_response, model_response
from app.contract.distances import (
    DistanceDeleted,
    DistanceFit,
    DistancePromoted,
    Distances,
    LearnDistance,
    Promote,
)
from app.contract.fields import AgentId

router = APIRouter(prefix="/v1/distances", tags=["episodic"], route_class=StrictRoute)

ACCEPTED = 202


@router.post(
    "",
    summary="Learn which numbers of a state matter",
    dependencies=[ConfirmedInMemory],
    status_code=ACCEPTED,
    responses={ACCEPTED: {"model": DistanceFit}, **error_handlers.of(422, 503)},
    openapi_extra=documents_body(LearnDistance),
)
async def learn_distance(request: Request, services: ServicesDep) -> Response:
    """Start to learn a distance from an agent's closed memories, and return its id.

    Only outcomes that were known count, and of each product only those that do not overlap. Ask
    for it at least every two minutes: learning that nobody waits for is cancelled. The distance is
    then used where a search, an estimate or an evaluation names it, and nowhere else.
    """
    job = await services.distances.start(await read_body(request, LearnDistance))
    return json_response(job.model_dump(), ACCEPTED)


@router.get(
    "",
    summary="An agent's learned distances",
    responses={200: {"model": Distances}, **error_handlers.of(422, 503)},
)
async def list_distances(
    services: ServicesDep, agent_id: Annotated[AgentId, Query()], as_of: AsOfQuery = None
) -> Response:
    """Return an agent's distances, the latest first, and which one the swarm goes by."""
    return model_response(Distances(distances=await services.distances.all_of(agent_id, as_of)))


@router.get(
    "/{id}",
    summary="A learned distance, or how far its learning is",
    responses={200: {"model": DistanceFit}, **error_handlers.of(404, 422, 503)},
)
async def get_distance(
    services: ServicesDep,
    id: PathMetric,  # noqa: A002
    as_of: AsOfQuery = None,
) -> Response:
    """Return a distance: which numbers of a state matter, in which way, and how much."""
    return model_response(await services.distances.find(id, as_of))


@router.delete(
    "/{id}",
    summary="Forget a learned distance",
    dependencies=[ConfirmedInMemory],
    responses={200: {"model": DistanceDeleted}, **error_handlers.of(404, 422, 503)},
)
async def delete_distance(services: ServicesDep, id: PathMetric) -> Response:  # noqa: A002
    """Forget a distance, or cancel its learning. If the swarm went by it, it no longer does."""
    await services.distances.delete(id)
    return model_response(DistanceDeleted(id=id))


@router.put(
    "/{id}/promotion",
    summary="Let the swarm go by a learned distance",
    dependencies=[ConfirmedInMemory],
    responses={200: {"model": DistancePromoted}, **error_handlers.of(404, 409, 422, 503)},
    openapi_extra=documents_body(Promote),
)
async def promote_distance(
    request: Request,
    services: ServicesDep,
    id: PathMetric,  # noqa: A002
) -> Response:
    """Have `metric: promoted` mean this distance, if an evaluation of later data says it helps."""
    proof = await read_body(request, Promote)
    at = await services.distances.promote(id, proof.evaluation_id)
    return model_response(DistancePromoted(id=id, promoted=True, at=at))


@router.delete(
    "/{id}/promotion",
    summary="Take a promotion back",
    dependencies=[ConfirmedInMemory],
    responses={200: {"model": DistancePromoted}, **error_handlers.of(404, 422, 503)},
)
async def demote_distance(services: ServicesDep, id: PathMetric) -> Response:  # noqa: A002
    """Have `metric: promoted` mean the cosine distance again, from the next question on."""
    at = await services.distances.demote(id)
    return model_response(DistancePromoted(id=id, promoted=False, at=at))
