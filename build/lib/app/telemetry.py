"""OpenTelemetry traces: FastAPI's own spans and those of the Redis client, sent by OTLP over HTTP.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT is set; the other OTEL_ variables hold as well. A question's
round trip to Redis may be shared with others', so its span is a trace of its own.
https://fastapi.tiangolo.com/advanced/opentelemetry/
"""

from importlib import import_module

from fastapi.telemetry import TelemetryConfig

from app.errors import ConfigurationError
from app.tracing import traces_endpoint

_EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_REDIS = "opentelemetry.instrumentation.redis"


def telemetry() -> TelemetryConfig:
    """FastAPI's setting for this environment. Raises ConfigurationError without the extra."""
    endpoint = traces_endpoint()
    if endpoint is None:
        return {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
    try:
        import_module(_EXPORTER)
        instrumentor = import_module(_REDIS).RedisInstrumentor()
    except ImportError as error:
        raise ConfigurationError(
            f"{endpoint} is set, but what sends traces is not installed: install "
            "coinswarm-memory[telemetry], or unset it."
        ) from error
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument()
    return {"metrics": False, "logs": False, "operation_spans": False, "auto_configure": True}
