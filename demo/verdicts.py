"""Does the memory help? The service's own verdicts on planted markets and on the demo's stocks.

    python -m demo.verdicts --url http://127.0.0.1:8000 --stocks KO AAPL

The planted agents are stored, judged by the cosine distance and by a distance that is learned from
their first part. The stocks are those that `make demo` has stored. Of each it is asked whether the
memory foretells the reward, by the stock's own past and by that of all stocks, and whether it
foretells how far the price moves, up or down.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from demo.arguments import default_url
from demo.client_key import key_headers
from demo.episodes import agent_of, episode
from demo.market import Windows, market_windows
from demo.plan import plan

START = 1_262_304_000.0
DAY_S = 86_400.0
HORIZON = 5
YEARS = (1990, 2021)
"""Those that `make demo` stores."""

BATCH = 500


@dataclass(frozen=True, slots=True)
class Planted:
    """A market whose truth is known: `matter` numbers of a state drive the reward.

    `strength` is the standard deviation of what they say over that of the noise.
    """

    agent_id: str
    dimension: int
    matter: int
    strength: float
    days: int
    seed: int

    @property
    def learned_at(self) -> float:
        """The moment up to which a distance is learned, unix seconds."""
        return START + self.days * 0.6 * DAY_S

    def moments(self) -> Iterator[dict[str, Any]]:
        """Yield two products' moments, day by day; each state is nearly that of the day before."""
        rng = np.random.default_rng(self.seed)
        for product in ("A", "B"):
            state = rng.standard_normal(self.dimension)
            noise = np.cumsum(rng.standard_normal(self.days + HORIZON)) / np.sqrt(HORIZON)
            for day in range(self.days):
                shock = rng.standard_normal(self.dimension)
                state = 0.9 * state + np.sqrt(1 - 0.9**2) * shock
                said = self.strength * state[: self.matter].sum() / np.sqrt(self.matter)
                timestamp = START + day * DAY_S
                yield {
                    "id": f"{product}{day}",
                    "agent_id": self.agent_id,
                    "product_id": product,
                    "regime": "planted",
                    "action": "hold",
                    "state_vector": state.astype(np.float32).tolist(),
                    "reward": float(said + noise[day + HORIZON] - noise[day]),
                    "timestamp": timestamp,
                    "outcome_at": timestamp + HORIZON * DAY_S,
                }


async def fill(client: httpx.AsyncClient, moments: Sequence[Mapping[str, Any]]) -> None:
    """Store moments. Storing them again changes nothing."""
    for first in range(0, len(moments), BATCH):
        batch = {"memories": moments[first : first + BATCH]}
        (await client.post("/v1/episodic/batch", json=batch)).raise_for_status()


async def finished(client: httpx.AsyncClient, path: str, request: dict[str, Any]) -> Any:
    """Start a job of the service and return it once it has ended."""
    started = (await client.post(path, json=request)).raise_for_status().json()
    while started["status"] in {"queued", "running"}:
        await asyncio.sleep(0.2)
        started = (await client.get(f"{path}/{started['id']}")).raise_for_status().json()
    return started


async def compare(client: httpx.AsyncClient, market: Planted) -> list[str]:
    """Return what is to be said of a planted market, line by line."""
    await fill(client, list(market.moments()))
    asked = {"agent_id": market.agent_id, "since": market.learned_at, "top_k": 20}
    plain = await finished(client, "/v1/evaluate", asked)
    lines = [f"{market.agent_id}: {spoken(plain)}"]
    request = {"agent_id": market.agent_id, "as_of": market.learned_at}
    learned = (await finished(client, "/v1/distances", request))["distance"]
    if learned is None:
        return [*lines, f"{market.agent_id}: nothing is learned"]
    numbers = sorted(feature["index"] for feature in learned["features"])
    by_it = await finished(client, "/v1/evaluate", {**asked, "metric": learned["id"]})
    gain = by_it["result"]["gain"]["value"]
    return [
        *lines,
        f"{market.agent_id}: learned that the numbers {numbers} matter: {spoken(by_it)}, "
        f"{gain:+.3f} against the cosine distance",
    ]


async def honest(
    client: httpx.AsyncClient, stocks: Windows, products: Sequence[str]
) -> AsyncIterator[str]:
    """Yield the verdicts on each of these stocks: by its own past, by all stocks', on the size."""
    everyone = {"scope": "all", "product_id": list(stocks.products)}
    for product in products:
        own = {"agent_id": agent_of(product)}
        yield f"{product}, reward: {spoken(await finished(client, '/v1/evaluate', own))}"
        found = await finished(client, "/v1/evaluate", {**own, **everyone})
        yield f"{product}, reward, all stocks: {spoken(found)}"
        agent_id = f"size_of_{product}"
        await fill(client, list(sizes(stocks, product, agent_id)))
        found = await finished(client, "/v1/evaluate", {"agent_id": agent_id})
        yield f"{product}, size: {spoken(found)}"
        # It would answer other stocks' questions to all.
        everything = {"agent_id": agent_id, "dry_run": False}
        (await client.post("/v1/episodic/delete", json=everything)).raise_for_status()


def sizes(stocks: Windows, product: str, agent_id: str) -> Iterator[dict[str, Any]]:
    """Yield a stock's moments, with the size of the price's move as the reward."""
    for row in np.flatnonzero(stocks.product_index == stocks.products.index(product)).tolist():
        moved = round(abs(float(stocks.forward_returns[row])), 6)
        yield {**episode(stocks, row), "agent_id": agent_id, "action": "hold", "reward": moved}


def spoken(evaluation: dict[str, Any]) -> str:
    """Return an evaluation's result in a few words."""
    result = evaluation["result"]
    if result is None:
        return f"not judged: {evaluation['problem']['detail']}"
    if not result["findings"]:
        return f"{result['verdict']}, {result['questions']} questions are too few"
    found = result["findings"][0]
    return (
        f"{result['verdict']} (rank correlation {found['value']:+.3f}, placebos "
        f"{found['placebo']:+.3f}, p {found['p_helps']:.2f}, {result['questions']} questions)"
    )


def markets(dimension: int, days: int) -> list[Planted]:
    """Return a market where every number matters, one where few do, and one where none does."""
    few = min(4, dimension)
    return [
        Planted("planted_all", dimension, dimension, 1.0, days, seed=1),
        Planted("planted_few", dimension, few, 1.0, days, seed=2),
        Planted("planted_none", dimension, few, 0.0, days, seed=3),
    ]


async def _main(url: str, products: Sequence[str] | None) -> None:
    async with httpx.AsyncClient(base_url=url, headers=key_headers(), timeout=60.0) as client:
        told = (await client.get("/v1/stats")).raise_for_status().json()
        for market in markets(told["dimension"], days=1500):
            print("\n".join(await compare(client, market)), flush=True)
        if products is not None:
            # Here, not above: only this needs the demo's data.
            from demo.prices import load_market  # noqa: PLC0415

            stocks = plan(market_windows(load_market()), years=YEARS).stored
            async for line in honest(client, stocks, products or stocks.products):
                print(line, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default=default_url(), help="the service (%(default)s)")
    parser.add_argument(
        "--stocks",
        nargs="*",
        metavar="NAME",
        help="of those that the demo has stored; without a name: all",
    )
    arguments = parser.parse_args()
    asyncio.run(_main(arguments.url, arguments.stocks))
