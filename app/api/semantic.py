"""Routes of semantic memory."""

import time

from fastapi import APIRouter, Request, Response

from app.api import error_handlers
from app.api.body import documents_body, read_body
from app.api.dependencies import (
    AsOfQuery,
    DurabilityDep,
    IdempotencyKey,
    ServicesDep,
    StrictRoute,
    services_of,
)
from app.api.middleware import PathId
from app.api.repeatable import named, note_batch
from app.api.responses import (
    batch_response,
    deletion_response,
    memory_response,
    page_response,
    patched_response,
    search_response,
    with_durability,
    written_response,
)
from app.contract.answers import (
    BatchStored,
    Deleted,
    SemanticAnswer,
    SemanticPage,
    SemanticPatched,
    SemanticRecord,
    SemanticStored,
)
from app.contract.requests import (
    SemanticDelete,
    SemanticPatch,
    SemanticQuery,
    SemanticSearch,
    SemanticStore,
    SemanticStoreBatch,
)

router = APIRouter(prefix="/v1/semantic", tags=["semantic"], route_class=StrictRoute)


@router.post(
    "",
    summary="Store one concept",
    responses={
        200: {"model": SemanticStored, "description": "The same memory already existed."},
        201: {"model": SemanticStored, "description": "Stored."},
        **error_handlers.of(409, 422, 503, 507),
    },
    openapi_extra=documents_body(SemanticStore),
    status_code=201,
)
async def store(
    request: Request,
    services: ServicesDep,
    durability: DurabilityDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Store what the swarm knows: a pattern, a regime or a strategy."""
    memory = named(request, await read_body(request, SemanticStore), idempotency_key)
    stored = await services.semantic.store(memory, idempotency_key)
    created = stored.status == "created"
    return written_response(
        {"id": stored.id, "created": created, "token": stored.token},
        durability,
        status=201 if created else 200,
    )


@router.post(
    "/batch",
    summary="Store up to 1000 concepts",
    responses={200: {"model": BatchStored}, **error_handlers.of(422, 507)},
    openapi_extra=documents_body(SemanticStoreBatch),
)
async def store_batch(
    request: Request,
    services: ServicesDep,
    durability: DurabilityDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Store or refuse each item independently; the answer has a result for each."""
    batch = await read_body(request, SemanticStoreBatch)
    note_batch(request, batch.memories, idempotency_key)
    outcome = await services.semantic.store_batch(batch, idempotency_key)
    return batch_response(outcome, durability, batch.memories, request.scope)


@router.post(
    "/search",
    summary="Find the most similar concepts",
    responses={200: {"model": SemanticAnswer}, **error_handlers.of(409, 422)},
    openapi_extra=documents_body(SemanticSearch),
)
async def search(request: Request) -> Response:
    """Find the concepts nearest to a vector."""
    started = time.perf_counter()
    question = await read_body(request, SemanticSearch)
    parsed = time.perf_counter()
    services = services_of(request)
    if question.include_vectors:
        services.answer_limit.require_vectors(question.top_k, "top_k")
    answer = await services.semantic.search(question)
    services.answer_limit.require_hits(answer.hits, "top_k")
    took_ms = (time.perf_counter() - started) * 1000
    return search_response(answer, took_ms=took_ms, parse_ms=(parsed - started) * 1000)


@router.post(
    "/query",
    summary="List concepts in an order",
    responses={200: {"model": SemanticPage}, **error_handlers.of(422, 503, 504)},
    openapi_extra=documents_body(SemanticQuery),
)
async def query(request: Request, services: ServicesDep) -> Response:
    """List concepts by range and order, without a vector: the best strategies by Sharpe ratio,
    say."""
    wanted = await read_body(request, SemanticQuery)
    page = await services.semantic.page(wanted)
    services.answer_limit.require_memories(((record, None) for record in page.records), "limit")
    return page_response(page)


@router.post(
    "/delete",
    summary="Delete concepts by filter",
    responses={200: {"model": Deleted}, **error_handlers.of(422, 503, 504)},
    openapi_extra=documents_body(SemanticDelete),
)
async def delete_matching(
    request: Request, services: ServicesDep, durability: DurabilityDep
) -> Response:
    """Count the matches, and delete them with `dry_run: false`, in steps that let other requests
    through."""
    wanted = await read_body(request, SemanticDelete)
    return deletion_response(await services.semantic.delete_matching(wanted), durability)


@router.get(
    "/{id}",
    summary="Read one concept with its vector",
    responses={200: {"model": SemanticRecord}, **error_handlers.of(404, 422, 503)},
)
async def fetch(services: ServicesDep, memory_id: PathId, as_of: AsOfQuery = None) -> Response:
    """Return one concept and how many searches found it. With `as_of`, as it was then, without
    counters."""
    if as_of is not None:
        return memory_response(await services.semantic.fetch_as_of(memory_id, as_of))
    return memory_response(*await services.semantic.fetch(memory_id))


@router.patch(
    "/{id}",
    summary="Change one concept",
    responses={200: {"model": SemanticPatched}, **error_handlers.of(404, 422, 503, 507)},
    openapi_extra=documents_body(SemanticPatch),
)
async def patch(
    request: Request, services: ServicesDep, durability: DurabilityDep, memory_id: PathId
) -> Response:
    """Replace the given fields at once. The others stay; `metadata` is replaced as a whole.

    Repeating the original store still answers `created: false` and changes nothing.
    """
    changes = await read_body(request, SemanticPatch)
    return patched_response(await services.semantic.patch(memory_id, changes), durability)


@router.delete(
    "/{id}",
    summary="Delete one concept",
    status_code=204,
    responses=error_handlers.of(404, 422, 503),
)
async def delete(services: ServicesDep, durability: DurabilityDep, memory_id: PathId) -> Response:
    """Delete one concept permanently."""
    await services.semantic.delete(memory_id)
    return with_durability(Response(status_code=204), durability)
