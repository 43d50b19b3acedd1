"""Streams what happens in the service as server-sent events."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from app.api import error_handlers
from app.api.dependencies import ServicesDep, StrictRoute
from app.api.middleware import has_begun
from app.api.time_limit import lift_time_limit
from app.context import remaining_s

router = APIRouter(tags=["operations"], route_class=StrictRoute)

EVENTS = "text/event-stream"
SPARE_S = 0.5
"""How long before its time limit the stream ends by itself, so that it does not end as an error."""
LONGEST_S = 600.0


@router.get(
    "/v1/live",
    summary="Stores, outcomes and recalls as they happen",
    response_class=Response,
    responses={
        200: {"description": "Server-sent events.", "content": {EVENTS: {}}},
        **error_handlers.of(422, 503),
    },
)
async def live(request: Request, services: ServicesDep) -> Response:
    """Stream the events of all processes, limited to the agents that the key may touch.

    Each message holds `{events: [{at, kind, agent_id, ...}], lost}`: at most 100 events of a
    process per half second; the others are counted. Nothing is kept, so earlier events are not
    shown. The stream lasts as long as `X-Deadline-Ms` says, at most ten minutes.
    """
    left_s = remaining_s()
    seconds = (LONGEST_S if left_s is None else left_s) - SPARE_S
    first = services.live.watch(seconds)
    await anext(first)  # a refusal is still a problem
    lift_time_limit(request.scope)  # the stream ends by itself, however short its time is
    return StreamingResponse(
        _written(first), media_type=EVENTS, headers={"Cache-Control": "no-store"}
    )


async def _written(watched: AsyncGenerator[dict[str, Any] | None, None]) -> AsyncIterator[bytes]:
    """Yield the events as https://html.spec.whatwg.org/multipage/server-sent-events.html defines
    them."""
    yield b": watching\n\n"
    async with aclosing(watched):
        async for told in watched:
            if has_begun():
                return
            yield b": nothing new\n\n" if told is None else b"data: %b\n\n" % orjson.dumps(told)
