"""Builds the application: the middleware, FastAPI with its routes, and their lifespan.

OpenTelemetry traces: FastAPI's own spans and those of the Redis client, sent by OTLP over HTTP. Off
unless OTEL_EXPORTER_OTLP_ENDPOINT is set; the other OTEL_ variables apply as well. A question may
share its round trip to Redis with others, so the round trip's span is a trace of its own.
https://fastapi.tiangolo.com/advanced/opentelemetry/
"""

import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib import import_module

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp

from app import __version__
from app.api import (
    decisions,
    episodic,
    error_handlers,
    feed,
    metrics,
    operations,
    redirects,
    semantic,
)
from app.api.console import agents, files, identity, live, memory_map
from app.api.dependencies import LifespanState
from app.api.direct import DirectRoutes
from app.api.doorway import Doorway
from app.api.evaluation import distances, evaluate
from app.api.gate import Gate
from app.api.mcp import endpoint as mcp
from app.api.middleware import RequestMiddleware
from app.api.openapi import describe
from app.api.redirects import RelativeRedirects
from app.auth.key_store import AuthState, anonymous, is_loopback, key_ring
from app.auth.limits import RateLimiter
from app.errors import ConfigurationError
from app.log_config import is_tracing, traces_endpoint
from app.metrics import limit_agents
from app.service import start
from app.settings import Settings, load_settings

DESCRIPTION = """The memory of a swarm of trading agents. An agent sends its current market
state as a vector and gets back the most similar moments of its past, with what it did and how that
turned out."""


TAGS = [
    {"name": "episodic", "description": "What one agent lived through: states, actions, rewards."},
    {"name": "semantic", "description": "What the swarm knows: patterns, regimes, strategies."},
    {"name": "operations", "description": "For operators of the service."},
    {"name": "health", "description": "For load balancers and supervisors; no key is needed."},
]
MEMORIES = ("episodic", "semantic")


def create_app(settings: Settings | None = None) -> ASGIApp:
    """Return the service for these settings, or for those of the environment.

    The middleware wraps FastAPI from outside. Added as FastAPI's own middleware, it would run
    behind four more layers (docs/benchmarks/hotpath.md).
    """
    settings = settings or load_settings()
    auth = AuthState(key_ring(settings), RateLimiter())
    api: ASGIApp = RelativeRedirects(create_api(settings, auth))
    api = DirectRoutes(
        api,
        # FastAPI's own spans begin at its routes
        routers=[] if is_tracing() else [episodic.router, semantic.router],
        plain={episodic.store: episodic.store_plain},
    )
    gate = Gate(
        auth.ring,
        auth.rates,
        anonymous=anonymous(settings),
        metrics_open=settings.metrics_open,
        require_as_of=settings.require_as_of,
    )
    doorway = Doorway(
        auth.ring,
        allowed_hosts=settings.allowed_hosts,
        is_loopback=is_loopback(settings.host),
    )
    return RequestMiddleware(
        api,
        doorway=doorway,
        gate=gate,
        keep_alive_s=settings.keep_alive_s,
        max_body_bytes=settings.max_body_bytes,
        default_deadline_ms=settings.default_deadline_ms,
    )


def create_api(settings: Settings, auth: AuthState) -> FastAPI:
    """Return the routes with their lifespan and their OpenAPI description."""
    app = FastAPIOffline(
        title="Coinswarm Memory",
        redoc_url=None,
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan_of(settings, auth),
        telemetry=telemetry(),
        servers=[{"url": "/", "description": "This service."}],
        license_info={"name": "MIT", "identifier": "MIT"},
        openapi_tags=TAGS,
        generate_unique_id_function=_operation_id,
        swagger_ui_parameters={"persistAuthorization": True},
    )
    app.include_router(memory_map.router)  # before the route of any memory by its id
    app.include_router(feed.router)  # before the ids of memories
    app.include_router(episodic.router)
    app.include_router(episodic.calibration_router)
    app.include_router(evaluate.router)
    app.include_router(decisions.router)
    app.include_router(distances.router)
    app.include_router(semantic.router)
    app.include_router(operations.router)
    app.include_router(identity.router)
    app.include_router(agents.router)
    app.include_router(live.router)
    app.include_router(operations.health_router)
    app.include_router(redirects.router)
    app.include_router(files.router)
    metrics.install(app)
    mcp.install(app, settings.mcp)
    error_handlers.install(app)
    describe(app, dimension=settings.dimension)
    return app


def _operation_id(route: APIRoute) -> str:
    """Return a name that reads well as a client's method: `search_episodic_batch`."""
    memory = next((str(tag) for tag in route.tags if tag in MEMORIES), None)
    if memory is None:
        return route.name
    verb, _, rest = route.name.partition("_")
    return "_".join(part for part in (verb, memory, rest) if part)


GC_THRESHOLDS = (50_000, 20, 100)
"""Python's default first threshold (700) starts a collection every few requests, and a full
collection of the framework's heap took 40 ms."""


def lifespan_of(
    settings: Settings, auth: AuthState
) -> Callable[[FastAPI], AbstractAsyncContextManager[LifespanState]]:
    """Return the lifespan for these settings. It raises StartError if the service cannot start."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[LifespanState]:
        async with AsyncExitStack() as stack:
            limit_agents(settings.metrics_max_agents)
            services = await start(settings, stack, auth)
            _calm_garbage_collector()
            yield LifespanState(services=services)

    return lifespan


def _calm_garbage_collector() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


_EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_REDIS = "opentelemetry.instrumentation.redis"


def telemetry() -> TelemetryConfig:
    """Return FastAPI's telemetry configuration. Raise ConfigurationError without the extra."""
    endpoint = traces_endpoint()
    if endpoint is None:
        return {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
    try:
        import_module(_EXPORTER)
        instrumentor = import_module(_REDIS).RedisInstrumentor()
    except ImportError as error:
        raise ConfigurationError(
            f"{endpoint} is set, but the package that sends traces is missing: run "
            "`.venv/bin/pip install '.[telemetry]'` in the repository, or unset it."
        ) from error
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument()
    return {"metrics": False, "logs": False, "operation_spans": False, "auto_configure": True}
