"""The command line of the demo."""

import argparse
import os
import re
from collections.abc import Sequence

from dotenv import dotenv_values


def default_url() -> str:
    """Return the address of `make serve` here: MEMORY_HOST and MEMORY_PORT, also from `.env`."""
    settings = {**dotenv_values(".env"), **os.environ}
    host = settings.get("MEMORY_HOST") or "127.0.0.1"
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - it listens everywhere: ask it here
        host = "127.0.0.1"
    return f"http://{host}:{settings.get('MEMORY_PORT') or '8000'}"


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line; end the program if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Real market days as memories, then a later year's days recall theirs.",
        epilog="A service that asks for keys gets the one in MEMORY_API_KEY.",
    )
    parser.add_argument("--url", default=default_url(), help="the service (%(default)s)")
    parser.add_argument(
        "--yes",
        action="store_true",
        help="store even if the service holds other memories, without asking",
    )
    parser.add_argument(
        "--years",
        type=_years,
        default=(1990, 2021),
        metavar="FIRST-LAST",
        help="years to store; the year after LAST is asked about (1990-2021)",
    )
    parser.add_argument(
        "--limit", type=_positive, metavar="N", help="store only the N latest moments of them"
    )
    parser.add_argument(
        "--batch",
        type=_positive,
        default=1000,
        help="memories in a request, 1000 at most (%(default)s)",
    )
    parser.add_argument(
        "--in-flight", type=_positive, default=4, help="requests in progress at once (%(default)s)"
    )
    parser.add_argument(
        "--ask",
        action="append",
        metavar="ID",
        help="ask about this moment, such as AAPL-2022-06-16 (may be repeated)",
    )
    parser.add_argument(
        "--questions", type=_positive, default=3, help="moments to ask about (%(default)s)"
    )
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number from 1 on")
    return int(text)


def _years(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{4})-(\d{4})", text)
    if match is None or match[1] > match[2]:
        raise argparse.ArgumentTypeError("must be two years in order, such as 1990-2021")
    return int(match[1]), int(match[2])
