"""Routes of the change feed: a snapshot of an agent's memory, and its changes since."""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from app.api import error_handlers
from app.api.columns.experiences import ExperienceStream
from app.api.columns.media import STREAM, arrow, stream_type
from app.api.dependencies import ServicesDep, StrictRoute, services_of
from app.api.middleware import PathAgent, has_begun
from app.api.time_limit import lift_time_limit
from app.contract.answers import Changes
from app.errors import MemoryServiceError
from app.feed.position import Position
from app.feed.snapshot import SnapshotPage
from app.feed.stream import FeedEntry, Reading
from app.vectors import to_array, to_base64

router = APIRouter(prefix="/v1/episodic", tags=["episodic"], route_class=StrictRoute)

EVENTS = "text/event-stream"
SILENCE_S = 10.0
"""How long without a change before an open stream reports that it is still current."""

Encoding = Literal["float", "base64"]


class ChangesAsked(BaseModel):
    """Which changes to return, and how to write them."""

    after: str | None = Field(
        None, max_length=200, description="A position; unset: what changes from now on."
    )
    limit: int = Field(
        200, ge=1, le=1000, description="About how many; what one call changed stays together."
    )
    wait_s: float = Field(
        0.0, ge=0, le=60, description="How many seconds to wait at most while nothing changes."
    )
    encoding_format: Encoding = Field(
        "float", description="How vectors are written: numbers, or base64 of float32."
    )


@router.get(
    "/{agent_id}/snapshot",
    summary="An agent's whole memory as columns",
    response_class=Response,
    responses={
        200: {
            "description": "An Arrow stream. Its schema's metadata holds the `position` from which "
            "the feed continues; each batch's holds the `cursor` of the rest, empty in the last.",
            "content": STREAM,
        },
        **error_handlers.of(410, 422, 503),
    },
)
async def snapshot(
    request: Request,
    services: ServicesDep,
    agent_id: PathAgent,
    limit: Annotated[
        int | None,
        Query(ge=1, le=100_000, description=("The largest number of memories; unset: all.")),
    ] = None,
    cursor: Annotated[
        str | None, Query(max_length=256, description="Continue after the batch with this cursor.")
    ] = None,
) -> Response:
    """Return every memory with its vectors, in the order of storing, batch by batch."""
    begun = await services.snapshot.begin(agent_id, cursor)
    pages = services.snapshot.pages(begun, limit)
    first = await anext(pages)  # an error of the first page is still a problem
    if limit is None:
        lift_time_limit(request.scope)
    chosen = services.vector_format
    metadata = {
        "position": str(begun.position),
        "agent_id": agent_id,
        "vector_type": chosen.type,
    }
    stream = ExperienceStream(await arrow(), chosen.dimension, metadata)
    return StreamingResponse(_batches(stream, first, pages), media_type=stream_type(request))


async def _batches(
    stream: ExperienceStream, first: SnapshotPage, pages: AsyncIterator[SnapshotPage]
) -> AsyncIterator[bytes]:
    yield _batch(stream, first)
    async for page in pages:
        yield _batch(stream, page)
    yield stream.end()


def _batch(stream: ExperienceStream, page: SnapshotPage) -> bytes:
    memories = page.memories
    return stream.write(
        [memory.record for memory in memories],
        [memory.vectors for memory in memories],
        {"cursor": page.cursor},
    )


@router.get(
    "/{agent_id}/changes",
    summary="What changed in an agent's memory",
    response_class=Response,
    responses={
        200: {"model": Changes, "content": {EVENTS: {}}},
        **error_handlers.of(410, 422, 503),
    },
)
async def changes(
    request: Request,
    services: ServicesDep,
    agent_id: PathAgent,
    asked: Annotated[ChangesAsked, Query()],
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=200)] = None,
) -> Response:
    """Return each memory that changed, once, as it is now, and the position after them."""
    follow = services.follow
    if EVENTS in request.headers.get("accept", ""):
        position = await follow.admitted(agent_id, last_event_id or asked.after)
        lift_time_limit(request.scope)
        events = _events(request, agent_id, position, asked)
        return StreamingResponse(events, media_type=EVENTS, headers={"Cache-Control": "no-store"})
    reading, waited_s = await follow.changes(
        agent_id, asked.after, limit=asked.limit, wait_s=asked.wait_s, is_ending=has_begun
    )
    body = _body(reading, waited_s, asked.encoding_format)
    return Response(body, media_type="application/json")


async def _events(
    request: Request, agent_id: str, position: Position, asked: ChangesAsked
) -> AsyncIterator[bytes]:
    """Yield server-sent events: `changes`, and at the end the problem that ended them, if any.

    https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    readings = services_of(request).follow.follow(
        agent_id, position, limit=asked.limit, silence_s=SILENCE_S, is_ending=has_begun
    )
    try:
        async with aclosing(readings):
            async for reading in readings:
                body = _body(reading, 0.0, asked.encoding_format)
                yield b"id: %b\nevent: changes\ndata: %b\n\n" % (str(reading.next).encode(), body)
    except MemoryServiceError as error:
        yield b"event: problem\ndata: %b\n\n" % orjson.dumps(error.problem())


def _body(reading: Reading, waited_s: float, encoding: Encoding) -> bytes:
    end: dict[str, object] = {
        "next": str(reading.next),
        "complete": reading.is_all,
        "waited_s": round(waited_s, 6),
    }
    if reading.retired_until is not None:
        end["retired_until"] = reading.retired_until
    parts = b",".join(_change(change, encoding) for change in reading.changes)
    return b'{"changes":[%b],%b' % (parts, orjson.dumps(end)[1:])


def _change(change: FeedEntry, encoding: Encoding) -> bytes:
    name = orjson.dumps(change.id)
    if change.memory is None:
        return b'{"id":%b,"op":"delete"}' % name
    vectors = b"".join(_vectors(change.memory.vectors.items(), encoding))
    record = change.memory.record[:-1]
    return b'{"id":%b,"op":"put","memory":%b%b}}' % (name, record, vectors)


def _vectors(vectors: Iterable[tuple[str, bytes]], encoding: Encoding) -> Iterable[bytes]:
    for name, raw in vectors:
        if encoding == "base64":
            yield b',"%b":"%b"' % (name.encode(), to_base64(raw).encode())
        else:
            numbers = orjson.dumps(to_array(raw), option=orjson.OPT_SERIALIZE_NUMPY)
            yield b',"%b":%b' % (name.encode(), numbers)
