"""The route that looks back on estimates."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api import error_handlers
from app.api.dependencies import ServicesDep
from app.api.responses import json_response
from app.contract.estimates import CalibrationReport
from app.contract.requests import CalibrationRequest

router = APIRouter(prefix="/v1", tags=["episodic"])


@router.get(
    "/calibration",
    summary="How far estimates held what they said",
    responses={200: {"model": CalibrationReport}, **error_handlers.of(422, 503)},
)
async def calibration(
    services: ServicesDep, wanted: Annotated[CalibrationRequest, Query()]
) -> Response:
    """Return coverage, calibration error and skill of an agent's past estimates.

    Its moments are estimated as they would have been at their own time. The first look takes a
    search for each; after that they are kept.
    """
    found = await services.calibration.record(wanted)
    figures = asdict(found.calibration)
    skill = {"brier": figures.pop("brier_skill"), "mse": figures.pop("mse_skill")}
    head = {"agent_id": found.agent_id, "as_of": found.as_of, "level": found.level}
    return json_response({**head, **figures, "skill": skill})
