"""What the routes have in common: the services, their parameters, and the refusal of others."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypedDict, cast

from fastapi import Depends, Header, Query, Request, Response, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute

from app.context import Durability, require
from app.contract.fields import AsOf, UnixTime
from app.errors import DurabilityImpossible, InvalidInput
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


async def durability_of(
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
    """Require the durability of a write, and return it. Raise DurabilityImpossible."""
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


async def _at_level_memory(
    level: Annotated[
        Durability | None,
        Header(
            alias="X-Durability",
            description="Here only memory: what this changes is confirmed at that level.",
        ),
    ] = None,
) -> None:
    if level not in {None, "memory"}:
        raise InvalidInput(
            "X-Durability: what this request changes is confirmed at level memory only: leave the "
            "header out.",
            field="X-Durability",
        )


ConfirmedInMemory = Depends(_at_level_memory)
"""For routes whose writes wait for no replica and no disk."""

ServicesDep = Annotated[Services, Depends(_services)]
DurabilityDep = Annotated[Durability, Depends(durability_of)]
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


class StrictRoute(APIRoute):
    """A route that refuses query parameters it does not have, and repeated ones.

    FastAPI ignores them, so a misspelt `as_of` would be answered with the present.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler behind this check, for which FastAPI asks once."""
        handle = super().get_route_handler()
        names = {
            field.alias
            for field in get_flat_params(self.dependant)
            if not isinstance(field.field_info, params.Path | params.Header)
        }

        async def checked(request: Request) -> Response:
            if request.scope["query_string"]:
                _require_known(request, names)
            return await handle(request)

        return checked


def _require_known(request: Request, names: set[str]) -> None:
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in names:
            known = ", ".join(sorted(names)) or "none"
            raise InvalidInput(
                f"{name}: is not a query parameter of this path: correct its name or leave it out "
                f"(known: {known}).",
                field=name,
            )
        if given.count(name) > 1:
            raise InvalidInput(f"{name}: may be given once.", field=name)
