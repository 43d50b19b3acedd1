"""`make demo`: 30 years of real market days as memories, then a later year's days recall theirs.

Needs a running service (`make serve`). Ctrl-C finishes the batches in progress and leaves the rest.
The next run continues from there, because what is already stored is answered `unchanged`.

Exit codes: 0 done, 1 something was refused, 2 no service or no data, 130 interrupted.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence

import httpx
import numpy as np
from tqdm import tqdm

from demo.arguments import parse_arguments
from demo.client_key import VARIABLE, key_headers
from demo.episodes import agent_of
from demo.filling import INTERRUPTED, store, summary
from demo.market import market_windows
from demo.plan import Plan, PlanError, plan
from demo.recall import RecallError, legend, recall, recall_table
from demo.service import NoServiceError, others_agents, require_service

_TIMEOUT_S = 60.0
_NEIGHBOURS = 10
_INTERRUPTED = 130


def progress_bar(total: int) -> tqdm:
    """Return a progress bar for `total` memories on the error stream."""
    # In a file or a CI log each refresh is a line of its own.
    seconds = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(total=total, desc="Storing", unit=" memories", mininterval=seconds, smoothing=0.1)


async def _is_meant(client: httpx.AsyncClient, todo: Plan) -> bool:
    """Ask before writing into a service that holds other memories than the demo's. Return the
    answer."""
    own = {agent_of(todo.stored.products[i]) for i in np.unique(todo.stored.product_index)}
    others = await others_agents(client, own, todo.stored.vectors.shape[1])
    if others == []:
        return True
    if others is None:
        print(f"{client.base_url} does not say what it holds: the key in {VARIABLE} may not ask.")
    else:
        print(f"{client.base_url} already holds the memories of {len(others):,} other agents.")
    if not sys.stdin.isatty():
        print(
            "Nothing was stored: repeat with --yes (make demo ARGS=--yes), or give --url.",
            file=sys.stderr,
        )
        return False
    said = await asyncio.to_thread(input, f"Store {len(todo.stored):,} memories there? [y/N] ")
    return said.strip().lower() in {"y", "yes"}


async def run(todo: Plan, arguments: argparse.Namespace) -> int:
    """Store, then ask. Return the exit code."""
    async with httpx.AsyncClient(
        base_url=arguments.url,
        headers=key_headers(),
        timeout=_TIMEOUT_S,
        trust_env=False,  # a proxy of the environment would not find a service on this machine
    ) as client:
        if not arguments.yes and not await _is_meant(client, todo):
            return 2
        with progress_bar(len(todo.stored)) as bar:
            report, ended = await store(
                client,
                todo.stored,
                batch=arguments.batch,
                in_flight=arguments.in_flight,
                bar=bar,
            )
        print(summary(report))
        if ended is not None:
            print(ended, file=sys.stderr)
            return _INTERRUPTED if ended == INTERRUPTED else 1
        print(f"\n{legend(todo.windows.horizon_days)}")
        until = float(todo.stored.timestamps[-1])
        for row in todo.questions:
            found = await recall(client, todo.windows, row, until=until, count=_NEIGHBOURS)
            print(f"\n{recall_table(todo.windows, row, found)}")
    return 1 if report.failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo. Return the exit code."""
    arguments = parse_arguments(argv)
    arguments.url = arguments.url.rstrip("/")
    try:
        require_service(arguments.url)
        # Here, not above: it takes seconds to import, and an address is checked at once.
        from demo.prices import load_market  # noqa: PLC0415

        print("Turning 33 years of daily prices into state vectors ...", flush=True)
        todo = plan(
            market_windows(load_market()),
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
    except (NoServiceError, PlanError) as error:
        print(error, file=sys.stderr)
        return 2
    except RecallError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted: run it again to continue.", file=sys.stderr)
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
