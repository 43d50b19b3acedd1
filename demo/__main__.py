"""`make demo`: 30 years of real market days as memories, then a later year's days recall theirs.

Needs a running service (`make serve`). Ctrl-C finishes the batches under way and leaves the rest:
the next run goes on from there, since what is stored already is answered `unchanged`.

Exit codes: 0 done, 1 something was refused, 2 no service or no data, 130 interrupted.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence

import httpx
import numpy as np

from demo.arguments import parse_arguments
from demo.filling import store, summary
from demo.market import Windows, market_windows
from demo.plan import Plan, PlanError, plan
from demo.recall import RecallError, recall, recall_table

_TIMEOUT_S = 60.0
_NEIGHBOURS = 10


class StartError(Exception):
    """The demo cannot begin; the message is one sentence that says what to do."""


def require_service(url: str) -> None:
    """Raises StartError unless the memory service answers at `url`."""
    try:
        response = httpx.get(f"{url}/livez", timeout=10.0, trust_env=False)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise StartError(
            f"No service answers at {url}: run `make serve` in another terminal, then `make demo`."
        ) from error
    if not response.is_success:
        raise StartError(
            f"What answers at {url} is not the memory service (/livez gives "
            f"{response.status_code}): give the right address with --url."
        )


def load_windows() -> Windows:
    """Every moment of the demo's market. Raises StartError when the data is not installed."""
    try:
        from demo.prices import load_market  # noqa: PLC0415 - only `make demo` installs it
    except ModuleNotFoundError as error:
        raise StartError("The demo's data is not installed: run it with `make demo`.") from error
    return market_windows(load_market())


async def run(todo: Plan, arguments: argparse.Namespace) -> int:
    """Store, then ask; the exit code."""
    async with httpx.AsyncClient(
        base_url=arguments.url,
        timeout=_TIMEOUT_S,
        trust_env=False,  # a proxy of the environment would not find a service on this machine
    ) as client:
        report, ended = await store(
            client, todo.stored, batch=arguments.batch, in_flight=arguments.in_flight
        )
        print(summary(report))
        if ended == "interrupted":
            print("Interrupted: what is stored is whole, and running it again stores the rest.")
            return 130
        if ended is not None:
            print(f"{ended} Running it again goes on from here.", file=sys.stderr)
            return 1
        until = float(todo.stored.timestamps[-1])
        for row in todo.questions:
            found = await recall(client, todo.windows, row, until=until, count=_NEIGHBOURS)
            print(f"\n{recall_table(todo.windows, row, found)}")
    return 1 if report.failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; the exit code."""
    arguments = parse_arguments(argv)
    arguments.url = arguments.url.rstrip("/")
    try:
        require_service(arguments.url)
        print("Turning 33 years of daily prices into state vectors ...", flush=True)
        todo = plan(
            load_windows(),
            years=arguments.years,
            limit=arguments.limit,
            questions=arguments.questions,
            ask=arguments.ask,
        )
        dates, agents = todo.stored.dates, len(np.unique(todo.stored.product_index))
        print(
            f"{len(todo.stored):,} moments of {agents} products, {dates[0]} to {dates[-1]}, "
            f"to {agents} agents at {arguments.url}",
            flush=True,
        )
        return asyncio.run(run(todo, arguments))
    except (StartError, PlanError) as error:
        print(error, file=sys.stderr)
        return 2
    except RecallError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted: running it again goes on from there.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
