"""The route of an agent's map."""

from typing import Annotated, Any, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from app.api import error_handlers
from app.api.dependencies import AsOfQuery, ServicesDep, StrictRoute
from app.api.middleware import PathAgent
from app.api.responses import completeness
from app.contract.fields import PastAnswer
from app.memory.memory_map import MAX_POINTS, MemoryMap

router = APIRouter(tags=["episodic"], route_class=StrictRoute)

Limit = Annotated[int, Query(ge=1, le=MAX_POINTS, description="The largest number of points.")]
Form = Annotated[
    Literal["points", "columns"],
    Query(description="columns: a list for each field instead of an object for each point."),
]


class MapPoint(BaseModel):
    """One memory. Points that are close to each other have similar states."""

    id: str
    x: float
    y: float
    reward: float | None
    regime: str
    product_id: str
    action: str | None
    timestamp: float


class Names(BaseModel):
    """A column with few distinct names: `codes` are positions in `names`."""

    names: list[str | None]
    codes: list[int]


class MapColumns(BaseModel):
    """The points as columns, all of the same length and in the same order."""

    id: list[str]
    x: list[float]
    y: list[float]
    reward: list[float | None]
    timestamp: list[float]
    regime: Names
    product_id: Names
    action: Names


class Map(PastAnswer):
    """An agent's memory in two dimensions."""

    points: list[MapPoint] | None = Field(None, description="In the order of storing.")
    columns: MapColumns | None = Field(None, description="Instead of `points`, if requested.")
    sampled: bool = Field(
        description=("True: not all memories but every n-th one, in the order of storing.")
    )
    total: int = Field(description="All memories that could be on the map.")
    explained: tuple[float, float] = Field(
        description="Share of the states' variance along x and along y."
    )


@router.get(
    "/v1/episodic/{agent_id}/map",
    summary="A memory in two dimensions",
    responses={200: {"model": Map}, **error_handlers.of(422, 503, 504)},
)
async def draw_map(
    services: ServicesDep,
    agent_id: PathAgent,
    limit: Limit = 20_000,
    form: Form = "points",
    as_of: AsOfQuery = None,
) -> Response:
    """Return the agent's states along the two directions in which they differ most (PCA).

    The same memory gives the same map, and it is kept until the memory changes. Above `limit`,
    every n-th memory is used, and `sampled` says so.
    """
    drawn = await services.map.draw(agent_id, limit=limit, as_of=as_of)
    body = {"columns": _columns(drawn)} if form == "columns" else {"points": _points(drawn)}
    told = {
        "sampled": drawn.is_sampled,
        "total": drawn.total,
        **completeness(drawn.whole_since),
        "explained": drawn.explained,
    }
    written = orjson.dumps(body | told, option=orjson.OPT_SERIALIZE_NUMPY)  # NaN becomes null
    return Response(written, media_type="application/json")


def _points(drawn: MemoryMap) -> list[dict[str, Any]]:
    columns = {
        "id": drawn.ids,
        "x": drawn.points[:, 0],
        "y": drawn.points[:, 1],
        **drawn.numbers,
        **{name: [of.names[code] for code in of.codes] for name, of in drawn.named.items()},
    }
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _columns(drawn: MemoryMap) -> dict[str, Any]:
    x, y = np.ascontiguousarray(drawn.points.T)
    named = {name: {"names": of.names, "codes": of.codes} for name, of in drawn.named.items()}
    return {"id": drawn.ids, "x": x, "y": y, **drawn.numbers, **named}
