"""uvicorn, made to say when it is ready and to lose no request when it ends."""

import asyncio
import errno
import socket
import sys
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from app.api import draining
from app.errors import AddressInUse, ConfigurationError
from app.http_protocol import BoundedHttpProtocol
from app.log_config import log_config
from app.settings import Settings

DRAIN_S = 1.0
"""How long a stopping service still takes requests, each answered with `Connection: close`. What
callers sent before the signal is read by then, off connections that are still in the kernel's
queue too; closing at once would reset those."""


class DrainingServer(uvicorn.Server):
    """Calls `on_ready` when requests can be sent, and drains before it closes anything."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then say so."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was sent, then close."""
        draining.begin()
        await asyncio.sleep(DRAIN_S)
        await super().shutdown(sockets)


def uvicorn_config(app: ASGIApp | str, settings: Settings) -> uvicorn.Config:
    """How uvicorn runs the service. `app` as a string: what a worker process calls to make it."""
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=log_config(settings.log_level),
        access_log=False,
        http=BoundedHttpProtocol,
        proxy_headers=False,  # nothing asks where a request came from
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
    )


def bound_socket(settings: Settings) -> socket.socket:
    """A socket at the settings' address, not listening yet. Raises StartError."""
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        address = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4]
    except socket.gaierror as error:
        raise ConfigurationError(
            f"MEMORY_HOST {host} is no address of this machine: use 127.0.0.1, or 0.0.0.0 for all."
        ) from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"Port {port} of {host} is in use: stop what listens there, or set MEMORY_PORT "
                "(0 takes a free one)."
            ) from error
        raise ConfigurationError(
            f"The service cannot listen on {host}, port {port} ({error.strerror}): set "
            "MEMORY_HOST and MEMORY_PORT to what this user may use."
        ) from error
    return listener


def announce(listener: socket.socket) -> None:
    """Say on standard output where the docs page is."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"Coinswarm Memory is ready: http://{shown}:{port}/docs\n")
    sys.stdout.flush()
