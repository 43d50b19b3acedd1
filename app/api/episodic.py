"""Routes of episodic memory."""

import time
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.api import error_handlers
from app.api.body import documents_body, read_body
from app.api.columns.answers import page_columns, sample_columns, search_columns
from app.api.columns.batches import read_columns
from app.api.columns.media import COLUMNS, sends_columns, wants_columns
from app.api.console.telling import tell_answer, tell_answers
from app.api.dependencies import (
    AsOfQuery,
    DurabilityDep,
    IdempotencyKey,
    RecordedByQuery,
    ServicesDep,
    StrictRoute,
    durability_of,
    services_of,
)
from app.api.middleware import PathAgent, PathId
from app.api.repeatable import named, note_batch
from app.api.responses import (
    batch_response,
    changed_response,
    completeness,
    deletion_response,
    estimate_response,
    json_response,
    memory_response,
    page_response,
    sample_response,
    search_response,
    search_results_response,
    with_durability,
    written_response,
)
from app.context import Durability
from app.contract.answers import (
    BatchStored,
    ChangeAcknowledged,
    Closed,
    Deleted,
    EpisodicAnswer,
    EpisodicPage,
    EpisodicRecord,
    EpisodicSampled,
    EpisodicSearchResults,
    EpisodicStored,
    Prioritized,
    Rated,
)
from app.contract.estimates import CalibrationReport, CalibrationRequest, EpisodicEstimated
from app.contract.requests import (
    EpisodicDelete,
    EpisodicEstimate,
    EpisodicPatch,
    EpisodicPriorities,
    EpisodicQuery,
    EpisodicSample,
    EpisodicSearch,
    EpisodicSearchBatch,
    EpisodicStore,
    EpisodicStoreBatch,
    Outcome,
)
from app.service import Services

router = APIRouter(prefix="/v1/episodic", tags=["episodic"], route_class=StrictRoute)


@router.post(
    "",
    summary="Store one experience",
    responses={
        200: {"model": EpisodicStored, "description": "The same memory already existed."},
        201: {"model": EpisodicStored, "description": "Stored."},
        **error_handlers.of(409, 422, 503, 507),
    },
    openapi_extra=documents_body(EpisodicStore),
    status_code=201,
)
async def store(
    request: Request,
    services: ServicesDep,
    durability: DurabilityDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Store what an agent experienced. The memory is stored once the answer arrives."""
    return await _stored(request, services, durability, idempotency_key)


async def store_plain(request: Request) -> Response:
    """Store one experience, for a request without headers of its own (app/api/direct.py)."""
    durability = await durability_of(request)
    return await _stored(request, services_of(request), durability, None)


async def _stored(
    request: Request, services: Services, durability: Durability, idempotency_key: str | None
) -> Response:
    memory = named(request, await read_body(request, EpisodicStore), idempotency_key)
    stored = await services.episodic.store(memory, idempotency_key)
    created = stored.status == "created"
    return written_response(
        {
            "id": stored.id,
            "agent_id": memory.agent_id,
            "created": created,
            "token": stored.token,
        },
        durability,
        status=201 if created else 200,
    )


@router.post(
    "/batch",
    summary="Store up to 1000 experiences",
    responses={200: {"model": BatchStored}, **error_handlers.of(422, 507)},
    openapi_extra=documents_body(EpisodicStoreBatch),
)
async def store_batch(
    request: Request,
    services: ServicesDep,
    durability: DurabilityDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Store or refuse each item independently; the answer has a result for each.

    With `Content-Type: application/vnd.apache.arrow.stream` the body is one Arrow record batch
    whose columns have the names of the fields.
    """
    if sends_columns(request):
        batch = await read_columns(request)
    else:
        batch = await read_body(request, EpisodicStoreBatch)
    note_batch(request, batch.memories, idempotency_key)
    outcome = await services.episodic.store_batch(batch, idempotency_key)
    return batch_response(outcome, durability, batch.memories, request.scope)


@router.post(
    "/search",
    summary="Find the most similar experiences",
    responses={
        200: {"model": EpisodicAnswer, "content": COLUMNS},
        **error_handlers.of(404, 409, 422),
    },
    openapi_extra=documents_body(EpisodicSearch),
)
async def search(request: Request) -> Response:
    """Find the moments most similar to a state, with what was done and what came of it."""
    started = time.perf_counter()
    question = await read_body(request, EpisodicSearch)
    parsed = time.perf_counter()
    services = services_of(request)
    if question.include_vectors:
        services.answer_limit.require_vectors(question.top_k, "top_k")
    answer = await services.episodic.search(question)
    services.answer_limit.require_hits(answer.hits, "top_k")
    took_ms = (time.perf_counter() - started) * 1000
    tell_answer(services, "recall", question, answer, took_ms)
    if wants_columns(request):
        return await search_columns(answer, took_ms, services.answer_limit.dimension)
    return search_response(answer, took_ms=took_ms, parse_ms=(parsed - started) * 1000)


@router.post(
    "/search/batch",
    summary="Answer up to 256 searches at once",
    responses={200: {"model": EpisodicSearchResults}, **error_handlers.of(422, 503)},
    openapi_extra=documents_body(EpisodicSearchBatch),
)
async def search_batch(request: Request, services: ServicesDep) -> Response:
    """Answer each search with its own answer or problem, in order."""
    started = time.perf_counter()
    batch = await read_body(request, EpisodicSearchBatch)
    outcomes = await services.episodic.search_batch(batch, services.answer_limit)
    took_ms = (time.perf_counter() - started) * 1000
    tell_answers(services, batch.searches, outcomes, took_ms)
    return search_results_response(outcomes, took_ms=took_ms)


@router.post(
    "/query",
    summary="List experiences in an order",
    responses={
        200: {"model": EpisodicPage, "content": COLUMNS},
        **error_handlers.of(422, 503, 504),
    },
    openapi_extra=documents_body(EpisodicQuery),
)
async def query(request: Request, services: ServicesDep) -> Response:
    """List experiences by range and order, without a vector: the most profitable of the last day,
    say."""
    wanted = await read_body(request, EpisodicQuery)
    page = await services.episodic_query.page(wanted)
    services.answer_limit.require_memories(((record, None) for record in page.records), "limit")
    if wants_columns(request):
        return await page_columns(page, services.answer_limit.dimension)
    return page_response(page)


@router.post(
    "/estimate",
    summary="What to expect of each action",
    responses={200: {"model": EpisodicEstimated}, **error_handlers.of(404, 409, 422, 503)},
    openapi_extra=documents_body(EpisodicEstimate),
)
async def estimate(request: Request) -> Response:
    """Aggregate the outcomes of the most similar moments by action, and say how far to trust
    them."""
    started = time.perf_counter()
    question = await read_body(request, EpisodicEstimate)
    parsed = time.perf_counter()
    services = services_of(request)
    found = await services.estimate.estimate(question)
    took_ms = (time.perf_counter() - started) * 1000
    tell_answer(services, "estimate", question, found.answer, took_ms)
    return estimate_response(found, took_ms=took_ms, parse_ms=(parsed - started) * 1000)


@router.post(
    "/sample",
    summary="Draw experiences to train on",
    responses={
        200: {"model": EpisodicSampled, "content": COLUMNS},
        **error_handlers.of(422, 503, 504),
    },
    openapi_extra=documents_body(EpisodicSample),
)
async def sample(request: Request) -> Response:
    """Draw uniformly or by priority, by regime or product, seeded, without repetition across
    pages."""
    started = time.perf_counter()
    wanted = await read_body(request, EpisodicSample)
    services = services_of(request)
    if wanted.include_vectors:
        services.answer_limit.require_vectors(wanted.size, "size")
    is_columns = wants_columns(request)
    drawn = await services.sample.sample(wanted, with_records=not is_columns)
    took_ms = (time.perf_counter() - started) * 1000
    if is_columns:
        return await sample_columns(drawn, took_ms, services.answer_limit.dimension)
    services.answer_limit.require_memories(((d.record, d.vectors) for d in drawn.drawn), "size")
    return sample_response(drawn, took_ms=took_ms)


@router.post(
    "/priorities",
    summary="Give up to 1000 experiences new priorities",
    responses={200: {"model": Prioritized}, **error_handlers.of(422, 503, 507)},
    openapi_extra=documents_body(EpisodicPriorities),
)
async def prioritize(
    request: Request, services: ServicesDep, durability: DurabilityDep
) -> Response:
    """Set new priorities for prioritized samples. The answer names the ids without a memory."""
    wanted = await read_body(request, EpisodicPriorities)
    done = await services.changes.prioritize(wanted)
    return written_response(asdict(done), durability)


@router.post(
    "/delete",
    summary="Delete experiences by filter",
    responses={200: {"model": Deleted}, **error_handlers.of(422, 503, 504)},
    openapi_extra=documents_body(EpisodicDelete),
)
async def delete_matching(
    request: Request, services: ServicesDep, durability: DurabilityDep
) -> Response:
    """Count the matches, and delete them with `dry_run: false`, in steps that let other requests
    through."""
    wanted = await read_body(request, EpisodicDelete)
    deletion = await services.episodic_query.delete(wanted)
    return deletion_response(deletion, durability)


@router.post(
    "/{agent_id}/{id}/outcome",
    summary="Close an open memory",
    responses={
        200: {"model": Closed | ChangeAcknowledged},
        **error_handlers.of(404, 409, 422, 503),
    },
    openapi_extra=documents_body(Outcome),
)
async def close(
    request: Request,
    services: ServicesDep,
    durability: DurabilityDep,
    agent_id: PathAgent,
    memory_id: PathId,
) -> Response:
    """Record the outcome. The same outcome again changes nothing; a different one is refused."""
    outcome = await read_body(request, Outcome)
    closed = await services.changes.close(agent_id, memory_id, outcome)
    return changed_response(closed, durability)


@router.get(
    "/{agent_id}/{id}",
    summary="Read one experience with its vectors",
    responses={200: {"model": EpisodicRecord}, **error_handlers.of(404, 422, 503)},
)
async def fetch(
    services: ServicesDep,
    agent_id: PathAgent,
    memory_id: PathId,
    as_of: AsOfQuery = None,
    recorded_by: RecordedByQuery = None,
) -> Response:
    """Return one experience. With `as_of`, only if it was known then."""
    return memory_response(
        await services.episodic.fetch(agent_id, memory_id, as_of=as_of, recorded_by=recorded_by)
    )


@router.patch(
    "/{agent_id}/{id}",
    summary="Rate one experience",
    responses={200: {"model": Rated | ChangeAcknowledged}, **error_handlers.of(404, 409, 422, 503)},
    openapi_extra=documents_body(EpisodicPatch),
)
async def rate(
    request: Request,
    services: ServicesDep,
    durability: DurabilityDep,
    agent_id: PathAgent,
    memory_id: PathId,
) -> Response:
    """Set a quality (once) or a priority. Setting the same value again changes nothing."""
    rating = await read_body(request, EpisodicPatch)
    return changed_response(await services.changes.rate(agent_id, memory_id, rating), durability)


@router.delete(
    "/{agent_id}/{id}",
    summary="Delete one experience",
    status_code=204,
    responses=error_handlers.of(404, 422, 503),
)
async def delete(
    services: ServicesDep, durability: DurabilityDep, agent_id: PathAgent, memory_id: PathId
) -> Response:
    """Delete one experience permanently."""
    await services.episodic.delete(agent_id, memory_id)
    return with_durability(Response(status_code=204), durability)


calibration_router = APIRouter(prefix="/v1", tags=["episodic"], route_class=StrictRoute)


@calibration_router.get(
    "/calibration",
    summary="How well past estimates matched the outcomes",
    responses={200: {"model": CalibrationReport}, **error_handlers.of(422, 503)},
)
async def calibration(
    services: ServicesDep, wanted: Annotated[CalibrationRequest, Query()]
) -> Response:
    """Return coverage, calibration error and skill of an agent's past estimates.

    Each of its memories is estimated as of its own time. The first call takes a search for each;
    later calls reuse them.
    """
    found = await services.calibration.record(wanted)
    figures = asdict(found.calibration)
    skill = {"brier": figures.pop("brier_skill"), "mse": figures.pop("mse_skill")}
    head = {"agent_id": found.agent_id, "as_of": found.as_of, "level": found.level}
    told = completeness(found.whole_since)
    return json_response({**head, **told, **figures, "skill": skill})
