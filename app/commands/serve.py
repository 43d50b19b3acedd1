"""`serve`: runs the service under uvicorn, in this process or in several on one socket."""

import argparse
import signal
import sys

from app.api.app import create_app
from app.commands.command import Command
from app.server.uvicorn_server import DrainingServer, announce, bound_socket, uvicorn_config
from app.server.workers import serve_with_workers
from app.settings import Settings, load_settings

NEVER_STARTED = 1


def serve(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; answer what was sent by then. Return the exit status."""
    # uvicorn raises the signal again after it has stopped. By then the work is done: status 0.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    if settings.workers > 1:
        return serve_with_workers(settings)
    with bound_socket(settings) as listener:
        server = DrainingServer(
            uvicorn_config(create_app(settings), settings), on_ready=lambda: announce(listener)
        )
        server.run(sockets=[listener])
    return 0 if server.started else NEVER_STARTED


def _run(_: argparse.Namespace) -> int:
    return serve(load_settings())


COMMAND = Command("serve", "run the service", _run)
