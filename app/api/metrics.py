"""Prometheus metrics of HTTP: serves `/metrics`, and counts and times requests by route template.

prometheus-fastapi-instrumentator counts what FastAPI serves. Its middleware matches the request
against the routes a second time and builds a second response. So the routes that agents use most
bypass FastAPI and are counted here, into the same series
(docs/decisions/0004-http-metrics-of-our-own.md).
"""

from fastapi import FastAPI, Response
from prometheus_fastapi_instrumentator import Instrumentator
from prometheus_fastapi_instrumentator.metrics import Info
from starlette.types import Scope

from app.metrics import HTTP_REQUESTS, HTTP_SECONDS, Counting, Observing


def install(app: FastAPI) -> None:
    """Count the app's requests, and serve the metrics of all worker processes at `/metrics`."""
    instrumentator = Instrumentator(excluded_handlers=[rf"^{NOT_COUNTED}$"])
    instrumentator.add(count)
    instrumentator.instrument(app)
    instrumentator.expose(
        app,
        endpoint=NOT_COUNTED,
        tags=["operations"],
        name="get_metrics",
        summary="Metrics for Prometheus",
        description="Summed over all worker processes.",
        response_class=Response,
        responses={
            200: {
                "content": {"text/plain": {"schema": {"type": "string"}}},
                "description": "Text format; docs/reference/metrics.md",
            }
        },
    )


NO_ROUTE = "none"
NOT_COUNTED = "/metrics"

_COUNTED = "coinswarm.counted"

_Series = tuple[Counting, Observing]
_known: dict[tuple[str, str, str], _Series] = {}


def count(info: Info) -> None:
    """Count a request that FastAPI served. The instrumentator calls this once per request."""
    info.request.scope[_COUNTED] = True
    _add(info.modified_handler, info.method, info.modified_status, info.modified_duration)


def observe(scope: Scope, status: int, seconds: float) -> None:
    """Count a request that was answered before it reached FastAPI, or without it."""
    if _COUNTED in scope:
        return
    route = scope.get("route")
    handler: str = NO_ROUTE if route is None else route.path
    if handler != NOT_COUNTED:
        _add(handler, scope["method"], f"{status // 100}xx", seconds)


def _add(handler: str, method: str, status: str, seconds: float) -> None:
    key = (handler, method, status)
    series = _known.get(key)
    if series is None:
        series = _known[key] = (
            HTTP_REQUESTS.labels(handler, method, status),
            HTTP_SECONDS.labels(handler, method),
        )
    series[0].inc()
    series[1].observe(seconds)
