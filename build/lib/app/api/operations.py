"""Routes for those who run the service."""

from fastapi import APIRouter, Request, Response

from app.api import problems
from app.api.body import documents_body, read_body
from app.api.dependencies import DurabilityDep, ServicesDep
from app.api.render import model_response, with_durability
from app.retention_schemas import Retention, RetentionAnswer

router = APIRouter(prefix="/v1", tags=["operations"])


@router.post(
    "/retention",
    summary="Prune by age and rules",
    responses={200: {"model": RetentionAnswer}, **problems.of(422, 503, 504)},
    openapi_extra=documents_body(Retention),
)
async def retention(request: Request, services: ServicesDep, durability: DurabilityDep) -> Response:
    """Says what the rules would remove and why; removes it with `dry_run: false`.

    Experiences go by the age of their `timestamp`. A concept stays when its Sharpe ratio is above
    the limit, when enough searches found it in the last 30 days, or while it is younger than
    `min_age_days`. Pinned memories stay in any case.
    """
    wanted = await read_body(request, Retention)
    return with_durability(model_response(await services.retention.run(wanted)), durability)
