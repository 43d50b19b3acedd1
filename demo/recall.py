"""Asks the service what a later moment resembles, and prints the nearest moments as a table."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict, cast

import httpx
import numpy as np

from demo.episodes import agent_of, encode_vector, episode_id
from demo.market import Windows
from demo.service import problem_detail

# Days next to each other are nearly the same moment, so more are asked for than are shown; the
# second number, the most that one search gives, is for when the first was not enough.
_ASKED = (200, 1000)


class RecallError(Exception):
    """A question got no answer; the message is one sentence that says why."""


class Hit(TypedDict):
    """The parts of a found memory that are used here."""

    id: str
    product_id: str
    regime: str
    action: str
    reward: float
    timestamp: float
    outcome_at: float
    distance: float
    metadata: dict[str, float]


@dataclass(frozen=True, slots=True)
class Recall:
    """The moments nearest to a question, nearest first, and how the service found them."""

    moments: list[Hit]
    asked: int
    exact: bool
    partial: bool
    took_ms: float


def distinct_moments(hits: Iterable[Hit], count: int) -> list[Hit]:
    """Return the first `count` hits that share no days with a nearer one of the same product.

    Two moments share days if one begins before the other's outcome. Their rewards then measure
    partly the same prices, and ten of them would say little more than one.
    """
    kept: list[Hit] = []
    for hit in hits:
        if len(kept) == count:
            break
        if not any(_overlap(hit, nearer) for nearer in kept):
            kept.append(hit)
    return kept


def _overlap(one: Hit, other: Hit) -> bool:
    return (
        one["product_id"] == other["product_id"]
        and one["timestamp"] < other["outcome_at"]
        and other["timestamp"] < one["outcome_at"]
    )


async def recall(
    client: httpx.AsyncClient, windows: Windows, row: int, *, until: float, count: int
) -> Recall:
    """Return the `count` distinct moments of the whole swarm nearest to moment `row`.

    until: unix seconds; only moments up to then are answered, which keeps what came after the
    question out of its answer. Raises RecallError.
    """
    product = windows.products[windows.product_index[row]]
    question = {
        "agent_id": agent_of(product),
        "state_vector": encode_vector(windows.vectors[row]),
        "scope": "all",
        "until": until,
    }
    for asked in _ASKED:
        try:
            response = await client.post("/v1/episodic/search", json=question | {"top_k": asked})
        except httpx.TransportError as error:
            raise RecallError(f"The service did not answer ({type(error).__name__}).") from error
        if not response.is_success:
            raise RecallError(f"The service refuses the question: {problem_detail(response)}")
        answer = response.json()
        moments = distinct_moments(cast("list[Hit]", answer["memories"]), count)
        if len(moments) == count or answer["count"] < asked:
            break
    return Recall(moments, asked, answer["exact"], answer["partial"], answer["took_ms"])


def legend(horizon_days: int) -> str:
    """Return what the tables' columns mean."""
    return (
        "distance  cosine distance of the state vectors: 0 is the same\n"
        f"price     its change over the next {horizon_days} trading days\n"
        "reward    what the action earned by then: a sell the opposite of the price, a hold 0\n"
        "Of moments of one product that share days, only the nearest is shown."
    )


def recall_table(windows: Windows, row: int, found: Recall) -> str:
    """Return the question, its nearest moments in a line each, and all their outcomes."""
    product = windows.products[windows.product_index[row]]
    action = str(windows.actions[row])
    lines = [
        f"{episode_id(windows, row)}: what was the market like this before?",
        f"  {product} is {windows.regimes[row]}; a trend follower would {action}.",
        f"  Asked of {len(windows.products)} agents, answered in {found.took_ms:.1f} ms"
        f"{' (exact)' if found.exact else ''}.",
        "",
        f"  {'date':<10}  {'product':<8}{'regime':<18}{'action':<7}{'distance':>8}"
        f"{'reward':>10}{'price':>10}",
        *(_line(hit) for hit in found.moments),
        "",
    ]
    if found.partial:
        lines.append("  Part of the memory could not be searched: nearer moments may exist.")
    return "\n".join([*lines, _outcome(windows, row, found.moments)])


def _line(hit: Hit) -> str:
    day = np.datetime64(int(hit["timestamp"]), "s").astype("datetime64[D]")
    return (
        f"  {day}  {hit['product_id']:<8}{hit['regime']:<18}{hit['action']:<7}"
        f"{hit['distance']:>8.3f}{_percent(hit['reward']):>10}"
        f"{_percent(hit['metadata']['forward_return']):>10}"
    )


def _outcome(windows: Windows, row: int, moments: list[Hit]) -> str:
    after = (
        f"What really came after: reward {_percent(float(windows.rewards[row]))}, "
        f"price {_percent(float(windows.forward_returns[row]))}."
    )
    if not moments:
        return f"  No moment found. {after}"
    reward = float(np.mean([hit["reward"] for hit in moments]))
    change = float(np.mean([hit["metadata"]["forward_return"] for hit in moments]))
    mean = f"Mean of these {len(moments)}: reward {_percent(reward)}, price {_percent(change)}."
    return f"  {mean} {after}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:+.1f} %"
