"""Is the process alive, and can it do its work?"""

from fastapi import APIRouter, Response

from app.api.dependencies import ServicesDep
from app.api.render import json_response

router = APIRouter(tags=["health"])

NOT_READY = 503


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="The process runs")
async def livez() -> Response:
    """Always 200 while the process can answer at all."""
    return json_response({"status": "ok"})


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Every part is ready", responses={503: {"description": "Not ready"}})
async def readyz(services: ServicesDep) -> Response:
    """Names each part and what it says of itself; 503 when one that is needed failed."""
    report = await services.health.report()
    return json_response(report.as_json(), status=200 if report.is_ready else NOT_READY)
