"""Whether traces are taken: then everything goes the ways that OpenTelemetry can follow."""

import os

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def traces_endpoint() -> str | None:
    """The variable that says where traces go; None: nowhere."""
    return next((name for name in ENDPOINTS if os.environ.get(name)), None)


def is_tracing() -> bool:
    """Whether traces are taken in this process."""
    return traces_endpoint() is not None
