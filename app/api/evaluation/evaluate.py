"""Routes that ask whether a memory helps."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.api import error_handlers
from app.api.body import documents_body, read_body
from app.api.dependencies import ConfirmedInMemory, ServicesDep, StrictRoute
from app.api.responses import json_response, model_response
from app.contract.evaluation import Evaluate, Evaluation, EvaluationDeleted

router = APIRouter(prefix="/v1/evaluate", tags=["episodic"], route_class=StrictRoute)

ACCEPTED = 202
EvaluationId = Annotated[
    str, Path(min_length=1, max_length=64, description="The id that was returned at its start.")
]


@router.post(
    "",
    summary="Does the memory help?",
    dependencies=[ConfirmedInMemory],
    status_code=ACCEPTED,
    responses={ACCEPTED: {"model": Evaluation}, **error_handlers.of(404, 422, 503)},
    openapi_extra=documents_body(Evaluate),
)
async def start_evaluation(request: Request, services: ServicesDep) -> Response:
    """Start comparing an agent's memory with placebos, and return the id to poll.

    Closed memories of the period are asked as of their own moment. Placebos are the same memory
    with its rewards rotated in time. Ask for the result at least every two minutes: an evaluation
    that nobody waits for is cancelled. Results are kept for a week.
    """
    evaluation = await services.evaluate.start(await read_body(request, Evaluate))
    return json_response(evaluation.model_dump(), ACCEPTED)


@router.get(
    "/{id}",
    summary="An evaluation's progress or result",
    responses={200: {"model": Evaluation}, **error_handlers.of(404, 422, 503)},
)
async def get_evaluation(services: ServicesDep, id: EvaluationId) -> Response:  # noqa: A002
    """Return an evaluation with its progress, and its result once it is done."""
    return model_response(await services.evaluate.find(id))


@router.delete(
    "/{id}",
    summary="Cancel and delete an evaluation",
    dependencies=[ConfirmedInMemory],
    responses={200: {"model": EvaluationDeleted}, **error_handlers.of(404, 422, 503)},
)
async def delete_evaluation(services: ServicesDep, id: EvaluationId) -> Response:  # noqa: A002
    """Cancel an evaluation if it is still running, and delete its result."""
    await services.evaluate.delete(id)
    return model_response(EvaluationDeleted(id=id))
