"""Serves the most frequent requests without FastAPI's routing.

For each request FastAPI finds the route, resolves its dependencies and wraps the answer. That costs
40 to 90 us of processor time (docs/benchmarks/hotpath.md), for handlers that need nothing but the
request.

So such handlers (searches, estimates, samples) are called here, after the same middleware and with
the same errors. Their routes remain: OpenAPI describes them, and every other path and method uses
them. A single store is served here too, unless it carries one of the headers that its route reads.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.body import HEADERS
from app.api.error_handlers import error_response, gone_response
from app.errors import MemoryServiceError

Handler = Callable[[Request], Awaitable[Response]]


_READ_BY_ROUTES = frozenset({b"x-durability", b"idempotency-key"})


class DirectRoutes:
    """Calls those handlers of `routers` that take a POST request and nothing else.

    `plain` has handlers of requests without headers of their own, by the handlers of their routes.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        routers: Iterable[APIRouter],
        plain: Mapping[Callable[..., Any], Handler],
    ) -> None:
        self._app = app
        self._routes: dict[str, tuple[APIRoute, Handler]] = {
            route.path: (route, plain.get(route.endpoint, route.endpoint))
            for router in routers
            for route in router.routes
            if isinstance(route, APIRoute)
            and (route.endpoint in plain or _takes_the_request_alone(route))
        }
        self._plain = frozenset(plain.values())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request with one of these handlers, or pass it on."""
        known = self._routes.get(scope.get("path", ""))
        if (
            known is None
            or scope["type"] != "http"
            or scope["method"] != "POST"
            or scope["query_string"]  # FastAPI's route refuses it
        ):
            await self._pass_on(scope, receive, send)
            return
        route, handler = known
        if handler in self._plain and not _READ_BY_ROUTES.isdisjoint(scope[HEADERS]):
            await self._pass_on(scope, receive, send)
            return
        scope["route"] = route  # the metrics name it
        try:
            response = await handler(Request(scope, receive))
        except MemoryServiceError as error:
            response = error_response(error, scope)
        except ClientDisconnect:
            response = gone_response()
        await response(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not isinstance(asyncio.current_task(), asyncio.Task):  # app/server/eager_start.py
            await asyncio.sleep(0)  # from here on it is: FastAPI's libraries rely on one task
        await self._app(scope, receive, send)


def _takes_the_request_alone(route: APIRoute) -> bool:
    """Return whether the handler has no parameter but the request, and no dependency."""
    parameters = list(inspect.signature(route.endpoint).parameters)
    return parameters == ["request"] and route.methods == {"POST"} and not route.dependencies
