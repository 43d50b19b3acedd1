"""Counts and times HTTP requests, by the template of their route.

The names and labels are those of prometheus-fastapi-instrumentator, whose middleware matches every
request against the routes a second time and builds a second response (docs/decisions).
"""

from prometheus_client import Counter, Histogram
from starlette.types import Scope

from app.metrics import HTTP_REQUESTS, HTTP_SECONDS

NO_ROUTE = "none"
NOT_COUNTED = "/metrics"

_Series = tuple[Counter, Histogram]
_known: dict[tuple[str, str, int], _Series] = {}


def observe(scope: Scope, status: int, seconds: float) -> None:
    """One request has been answered with this status."""
    route = scope.get("route")
    handler: str = NO_ROUTE if route is None else route.path
    if handler == NOT_COUNTED:
        return
    key = (handler, scope["method"], status // 100)
    series = _known.get(key)
    if series is None:
        series = _known[key] = (
            HTTP_REQUESTS.labels(handler, key[1], f"{key[2]}xx"),
            HTTP_SECONDS.labels(handler, key[1]),
        )
    series[0].inc()
    series[1].observe(seconds)
