"""The agent: asks what came of moments like this one, decides, remembers, learns the outcome.

It stores every moment as a buy, even when it stays out, because the price shows what a buy would
have earned. If it stored only what it did, it would never learn again about states that it avoids.
"""

import math
from dataclasses import dataclass
from typing import Any

import httpx

from demo.episodes import encode_vector, episode_id
from demo.market import Windows
from demo.service import problem_detail

COST = 0.001
"""Share of the sum traded that each purchase and each sale costs."""

NEIGHBOURS = 50
ENOUGH = 10.0


class TraderError(Exception):
    """A request was refused; the message is one sentence that says why."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a buy can be expected to earn until the horizon, as a fraction; all 0: unknown.

    `stdev` is None for a single moment.
    """

    value: float = 0.0
    stdev: float | None = 0.0
    effective_n: float = 0.0


def buys(expected: Expectation) -> bool:
    """Return whether to buy: the value, less one standard error, must cover both trades' costs."""
    if expected.stdev is None or expected.effective_n < ENOUGH:
        return False
    error = expected.stdev / math.sqrt(expected.effective_n)
    return expected.value - error > 2 * COST


class Trader:
    """`client` has the service's address as its base. Every call raises TraderError."""

    def __init__(self, client: httpx.AsyncClient, agent_id: str) -> None:
        self._client = client
        self.agent_id = agent_id

    async def expect(self, windows: Windows, row: int, *, only_product: bool) -> Expectation:
        """Return what was known, at the moment itself, of moments like it."""
        question: dict[str, Any] = {
            "agent_id": self.agent_id,
            "state_vector": encode_vector(windows.vectors[row]),
            "top_k": NEIGHBOURS,
            "as_of": float(windows.timestamps[row]),
        }
        if only_product:
            question["product_id"] = windows.products[windows.product_index[row]]
        answer = await self._post("/v1/episodic/estimate", question)
        for action in answer["actions"]:
            if action["action"] == "buy":
                return Expectation(
                    value=action["value"],
                    stdev=action["stdev"],
                    effective_n=action["effective_n"],
                )
        return Expectation()

    async def remember(self, windows: Windows, row: int, *, bought: bool) -> None:
        """Store the moment as open: its outcome is not known yet."""
        await self._post(
            "/v1/episodic", self._moment(windows, row) | {"metadata": {"bought": bought}}
        )

    async def learn(self, windows: Windows, row: int) -> None:
        """Close the moment, now that its outcome is known."""
        name = episode_id(windows, row)
        await self._post(f"/v1/episodic/{self.agent_id}/{name}/outcome", _outcome(windows, row))

    async def study(self, windows: Windows, rows: list[int]) -> None:
        """Store up to 1,000 moments of the past, with their outcomes."""
        moments = [self._moment(windows, row) | _outcome(windows, row) for row in rows]
        answer = await self._post("/v1/episodic/batch", {"memories": moments})
        for result in answer["results"]:
            if result["status"] == "error":
                raise TraderError(
                    f"The service refuses {result['id']}: {result['error']['detail']}"
                )

    def _moment(self, windows: Windows, row: int) -> dict[str, Any]:
        return {
            "id": episode_id(windows, row),
            "agent_id": self.agent_id,
            "product_id": windows.products[windows.product_index[row]],
            "regime": str(windows.regimes[row]),
            "action": "buy",
            "timestamp": float(windows.timestamps[row]),
            "state_vector": encode_vector(windows.vectors[row]),
        }

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            response = await self._client.post(path, json=body)
        except httpx.TransportError as error:
            raise TraderError(f"The service did not answer ({type(error).__name__}).") from error
        if not response.is_success:
            raise TraderError(f"The service refuses {path}: {problem_detail(response)}")
        answer: dict[str, Any] = response.json()
        return answer


def _outcome(windows: Windows, row: int) -> dict[str, Any]:
    return {
        "reward": round(float(windows.forward_returns[row]), 6),
        "outcome_at": float(windows.outcome_at[row]),
    }
