"""The application."""

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp

from app import __version__
from app.api import (
    console,
    episodic,
    error_handlers,
    health,
    identity,
    metrics,
    operations,
    redirects,
    semantic,
    slow_queries,
    stats,
)
from app.api.direct import DirectRoutes
from app.api.doorway import Doorway
from app.api.gate import Gate
from app.api.middleware import RequestMiddleware
from app.api.openapi import describe
from app.api.redirects import RelativeRedirects
from app.authentication import Entrance, anonymous, is_loopback, key_ring
from app.lifespan import lifespan_of
from app.rate_limit import RateLimiter
from app.settings import Settings, load_settings
from app.telemetry import telemetry
from app.tracing import is_tracing

DESCRIPTION = """The memory of a swarm of trading agents. An agent sends the market state that it
is in, as a vector, and gets the most similar moments of its past, with what was done and what
came of it."""


TAGS = [
    {"name": "episodic", "description": "What one agent lived through: states, actions, rewards."},
    {"name": "semantic", "description": "What the swarm knows: patterns, regimes, strategies."},
    {"name": "operations", "description": "For those who run the service."},
    {"name": "health", "description": "For load balancers and supervisors; no key is needed."},
]
MEMORIES = ("episodic", "semantic")


def create_app(settings: Settings | None = None) -> ASGIApp:
    """The service for these settings; without any, for those of the environment.

    FastAPI is behind what every request passes. As FastAPI's own middleware that would stand
    behind four layers more (docs/benchmarks/hotpath.md).
    """
    settings = settings or load_settings()
    entrance = Entrance(key_ring(settings), RateLimiter())
    api: ASGIApp = RelativeRedirects(create_api(settings, entrance))
    if not is_tracing():  # FastAPI's own spans begin at its routes
        api = DirectRoutes(api, routers=[episodic.router, semantic.router])
    gate = Gate(
        entrance.ring,
        entrance.rates,
        anonymous=anonymous(settings),
        metrics_open=settings.metrics_open,
        require_as_of=settings.require_as_of,
    )
    doorway = Doorway(
        entrance.ring,
        allowed_hosts=settings.allowed_hosts,
        is_loopback=is_loopback(settings.host),
    )
    requests = RequestMiddleware(
        api,
        doorway=doorway,
        gate=gate,
        keep_alive_s=settings.keep_alive_s,
        max_body_bytes=settings.max_body_bytes,
        default_deadline_ms=settings.default_deadline_ms,
    )
    return ServerErrorMiddleware(requests, handler=error_handlers.unexpected_error)


def create_api(settings: Settings, entrance: Entrance) -> FastAPI:
    """The routes, their lifespan and what OpenAPI says of them."""
    app = FastAPIOffline(
        title="Coinswarm Memory",
        redoc_url=None,
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan_of(settings, entrance),
        telemetry=telemetry(),
        servers=[{"url": "/", "description": "This service."}],
        license_info={"name": "MIT", "identifier": "MIT"},
        openapi_tags=TAGS,
        generate_unique_id_function=_operation_id,
        swagger_ui_parameters={"persistAuthorization": True},
    )
    app.include_router(episodic.router)
    app.include_router(semantic.router)
    app.include_router(slow_queries.router)
    app.include_router(stats.router)
    app.include_router(operations.router)
    app.include_router(identity.router)
    app.include_router(health.router)
    app.include_router(redirects.router)
    metrics.install(app)
    console.install(app)
    error_handlers.install(app)
    describe(app, dimension=settings.dimension)
    return app


def _operation_id(route: APIRoute) -> str:
    """Return a name that reads well as a method of a client: `search_episodic_batch`."""
    memory = next((str(tag) for tag in route.tags if tag in MEMORIES), None)
    if memory is None:
        return route.name
    verb, _, rest = route.name.partition("_")
    return "_".join(part for part in (verb, memory, rest) if part)
