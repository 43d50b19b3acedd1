"""Figures for Prometheus: `/metrics`, and the counting of what FastAPI serves."""

from fastapi import FastAPI, Response
from prometheus_fastapi_instrumentator import Instrumentator

from app.api import http_metrics


def install(app: FastAPI) -> None:
    """Count the app's requests, and serve all worker processes' figures at `/metrics`."""
    instrumentator = Instrumentator(excluded_handlers=[rf"^{http_metrics.NOT_COUNTED}$"])
    instrumentator.add(http_metrics.count)
    instrumentator.instrument(app)
    instrumentator.expose(
        app,
        endpoint=http_metrics.NOT_COUNTED,
        tags=["operations"],
        name="get_metrics",
        summary="Figures for Prometheus",
        description="All worker processes together, whichever of them answers.",
        response_class=Response,
        responses={
            200: {
                "content": {"text/plain": {"schema": {"type": "string"}}},
                "description": "Text format; docs/reference/metrics.md",
            }
        },
    )
