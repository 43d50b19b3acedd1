"""Runs the service under uvicorn."""

import socket
import sys

import uvicorn

from app.log_config import log_config
from app.main import create_app
from app.settings import Settings


class AnnouncingServer(uvicorn.Server):
    """Says where the docs page is as soon as it can be opened."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then say so on standard output."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            sys.stdout.write(f"Coinswarm Memory is ready: http://{shown}:{port}/docs\n")
            sys.stdout.flush()


def serve(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; the exit status. Requests under way are answered first."""
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=log_config(settings.log_level),
        access_log=False,
        server_header=False,
        date_header=False,
    )
    server = AnnouncingServer(config)
    server.run()
    return 0 if server.started else 1
