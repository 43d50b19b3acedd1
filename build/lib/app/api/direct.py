"""The questions that agents ask most, past FastAPI's routing.

FastAPI finds a route, resolves its dependencies and wraps its answer for each request: that takes
40 to 90 us of processor time (docs/benchmarks/hotpath.md), for a handler that needs the request
alone.
So such handlers, searches and estimates, are called here, after the same middleware, with the same
errors. The routes stay as they are: OpenAPI describes them, and every other path and method goes
to them.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.error_handlers import error_response, gone_response
from app.errors import MemoryServiceError

Handler = Callable[[Request], Awaitable[Response]]


class DirectRoutes:
    """Calls the handlers of `routers` that take a POST's request and nothing else."""

    def __init__(self, app: ASGIApp, *, routers: Iterable[APIRouter]) -> None:
        self._app = app
        self._routes: dict[str, tuple[APIRoute, Handler]] = {
            route.path: (route, route.endpoint)
            for router in routers
            for route in router.routes
            if isinstance(route, APIRoute) and _takes_the_request_alone(route)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request to one of them, or pass it on."""
        known = self._routes.get(scope.get("path", ""))
        if known is None or scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["route"], handler = known  # its name in the metrics
        try:
            response = await handler(Request(scope, receive))
        except MemoryServiceError as error:
            response = error_response(error)
        except ClientDisconnect:
            response = gone_response()
        await response(scope, receive, send)


def _takes_the_request_alone(route: APIRoute) -> bool:
    """Whether FastAPI has nothing to find out for this handler: no parameter, no dependency."""
    parameters = list(inspect.signature(route.endpoint).parameters)
    return parameters == ["request"] and route.methods == {"POST"} and not route.dependencies
