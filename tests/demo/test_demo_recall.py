from typing import Any

import httpx
import orjson
import pytest

from demo.episodes import episode, episode_id
from demo.market import market_windows
from demo.recall import Hit, RecallError, distinct_moments, recall, recall_table
from tests.demo.synthetic import random_market

WINDOWS = market_windows(random_market(days=700, products=3))
LAST = len(WINDOWS) - 1
DAY = 86_400.0


def hit(product: str, day: float, distance: float = 0.1) -> Hit:
    return Hit(
        id=f"{product}-{day}",
        product_id=product,
        regime="bull_low_vol",
        action="buy",
        reward=0.01,
        timestamp=day * DAY,
        outcome_at=(day + 21) * DAY,
        distance=distance,
        metadata={"forward_return": 0.01},
    )


def client_that_answers(hits: list[dict[str, Any]], asked: list[dict[str, Any]]) -> Any:
    def answer(request: httpx.Request) -> httpx.Response:
        question = orjson.loads(request.content)
        asked.append(question)
        memories = hits[: question["top_k"]]
        body = {"memories": memories, "count": len(memories), "exact": True, "partial": False}
        return httpx.Response(200, json=body | {"took_ms": 1.25})

    return httpx.AsyncClient(base_url="http://memory", transport=httpx.MockTransport(answer))


def hits_of(rows: range) -> list[dict[str, Any]]:
    return [{**episode(WINDOWS, row), "distance": 0.001 * row} for row in rows]


def test_moments_that_share_days_with_a_nearer_one_of_their_product_are_left_out() -> None:
    hits = [hit("A", 100), hit("A", 101), hit("B", 101), hit("A", 80), hit("A", 121), hit("A", 79)]
    assert [found["id"] for found in distinct_moments(hits, 10)] == [
        "A-100",
        "B-101",
        "A-121",
        "A-79",
    ]
    assert len(distinct_moments(hits, 2)) == 2


async def test_a_question_asks_the_swarm_about_the_past_and_the_table_says_what_came() -> None:
    asked: list[dict[str, Any]] = []
    async with client_that_answers(hits_of(range(200)), asked) as client:
        found = await recall(client, WINDOWS, LAST, until=5.0, count=3)
    assert [(question["scope"], question["until"]) for question in asked] == [("all", 5.0)]
    assert asked[0]["agent_id"] == "agent_P-2"
    table = recall_table(WINDOWS, LAST, found)
    lines = table.splitlines()
    assert lines[0].startswith(episode_id(WINDOWS, LAST))
    header = lines.index(next(line for line in lines if "distance" in line))
    first = lines[header + 1].split()
    assert first[:2] == [str(WINDOWS.dates[0]), "P-0"]
    assert {len(line) for line in lines[header : header + 4]} == {len(lines[header])}
    assert "Mean of these 3: reward" in lines[-1]
    assert "What really came after: reward" in lines[-1]


async def test_more_is_asked_when_the_nearest_are_the_same_few_moments() -> None:
    asked: list[dict[str, Any]] = []
    same = hits_of(range(1)) * 300
    async with client_that_answers(same + hits_of(range(1, 3)), asked) as client:
        found = await recall(client, WINDOWS, LAST, until=5.0, count=3)
    assert [question["top_k"] for question in asked] == [200, 1000]
    assert len(found.moments) == 3


async def test_no_hit_and_a_partial_answer_are_said() -> None:
    async with client_that_answers([], []) as client:
        found = await recall(client, WINDOWS, LAST, until=5.0, count=3)
    assert "No moment found" in recall_table(WINDOWS, LAST, found)


async def test_a_refused_question_says_why() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(422, json={"detail": "wrong length"})

    transport = httpx.MockTransport(refuse)
    async with httpx.AsyncClient(base_url="http://memory", transport=transport) as client:
        with pytest.raises(RecallError, match="wrong length"):
            await recall(client, WINDOWS, LAST, until=5.0, count=3)
