"""What the lifespan provides to the routes."""

from typing import Annotated, TypedDict, cast

from fastapi import Depends, Header, Query, Request

from app.context import Durability, require
from app.contract.fields import AsOf, UnixTime
from app.errors import DurabilityImpossible
from app.service import Services


class LifespanState(TypedDict):
    """The lifespan's state, which Starlette passes to each request."""

    services: Services


def services_of(request: Request) -> Services:
    """Return this process's services."""
    return cast("Services", request.scope["state"]["services"])


async def _services(request: Request) -> Services:
    # async, because FastAPI would run a plain function in a thread for each request.
    return services_of(request)


async def _durability(
    request: Request,
    level: Annotated[
        Durability | None,
        Header(
            alias="X-Durability",
            description="How safe the write must be before it is confirmed: memory, replicated or "
            "fsynced. Unset: MEMORY_DURABILITY. The answer names the level that was reached. If it "
            "was not reached, the answer is an error; repeating a request with ids is safe.",
        ),
    ] = None,
) -> Durability:
    services = services_of(request)
    chosen = level or services.durability
    if chosen == "replicated" and not services.has_replicas:
        raise DurabilityImpossible(
            "X-Durability: replicated needs a replica, and the service has none: ask for memory "
            "or fsynced, or set MEMORY_REPLICA_URLS or MEMORY_EMBEDDED_REPLICAS.",
            field="X-Durability",
        )
    require(chosen)
    return chosen


ServicesDep = Annotated[Services, Depends(_services)]
DurabilityDep = Annotated[Durability, Depends(_durability)]
AsOfQuery = Annotated[AsOf | None, Query()]
RecordedByQuery = Annotated[
    UnixTime | None,
    Query(description="Only what the service had been told by then, unix seconds."),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Makes a repeated store safe when the body has no `id`.",
    ),
]
