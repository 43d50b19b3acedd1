"""`serve`: runs the service."""

import argparse

from app.commands.command import Command
from app.server.run import serve
from app.settings import load_settings


def _run(_: argparse.Namespace) -> int:
    return serve(load_settings())


COMMAND = Command("serve", "run the service", _run)
