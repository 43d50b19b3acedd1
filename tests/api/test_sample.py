"""Samples: the right chances, without replacement, the same for the same seed."""

from collections import Counter
from typing import Any

import httpx
import numpy as np
import pytest

from tests.api.test_episodic_search import memories, store

CHI_SQUARE_999 = {4: 18.47, 9: 27.88}
"""By degrees of freedom, the value that chi-square exceeds once in a thousand times."""


async def sample(api: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await api.post("/v1/episodic/sample", json={"agent_id": "agent_1"} | fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def all_pages(api: httpx.AsyncClient, **fields: Any) -> list[str]:
    drawn: list[str] = []
    cursor = None
    while True:
        page = await sample(api, cursor=cursor, **fields)
        drawn += [m["id"] for m in page["memories"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return drawn


@pytest.mark.parametrize(
    "how",
    [{}, {"strategy": "prioritized"}, {"stratify_by": "regime", "strategy": "prioritized"}],
)
async def test_pages_draw_everything_once(api: httpx.AsyncClient, how: dict[str, Any]) -> None:
    await store(api, memories(300))
    drawn = await all_pages(api, size=64, seed=5, **how)
    assert sorted(drawn) == sorted(f"m{i}" for i in range(300))
    if "stratify_by" not in how:
        assert drawn == await all_pages(api, size=37, seed=5, **how)
    assert drawn != await all_pages(api, size=64, seed=6, **how)


async def test_what_is_stored_and_deleted_between_pages_repeats_nothing(
    api: httpx.AsyncClient,
) -> None:
    await store(api, memories(100))
    first = await sample(api, size=40, seed=1)
    await store(api, memories(150)[100:])
    for name in [m["id"] for m in first["memories"]][:10]:
        await api.delete(f"/v1/episodic/agent_1/{name}")
    second = await sample(api, size=200, seed=1, cursor=first["next_cursor"])
    names = [m["id"] for page in (first, second) for m in page["memories"]]
    assert len(names) == len(set(names))
    assert set(names) >= {f"m{i}" for i in range(100)}


@pytest.mark.parametrize("strategy", ["uniform", "prioritized"])
async def test_first_draws_have_the_stated_chances(api: httpx.AsyncClient, strategy: str) -> None:
    stored = memories(10)
    for i, memory in enumerate(stored):
        memory["priority"] = float(i + 1)
    await store(api, stored)
    draws, firsts = 600, Counter[str]()
    chances: dict[str, float] = {}
    for seed in range(draws):
        page = await sample(api, size=10 if seed == 0 else 1, seed=seed, strategy=strategy, alpha=1)
        firsts[page["memories"][0]["id"]] += 1
        if seed == 0:
            chances = {m["id"]: m["probability"] for m in page["memories"]}
            largest = max((10 * p) ** -0.4 for p in chances.values())
            for m in page["memories"]:
                expected = (10 * m["probability"]) ** -0.4 / largest
                assert m["weight"] == pytest.approx(expected)
    shares = [(i + 1) / 55 if strategy == "prioritized" else 0.1 for i in range(10)]
    assert [chances[f"m{i}"] for i in range(10)] == pytest.approx(shares, rel=1e-5)
    expected = np.array(shares) * draws
    observed = np.array([firsts[f"m{i}"] for i in range(10)])
    assert ((observed - expected) ** 2 / expected).sum() < CHI_SQUARE_999[9]


async def test_strata_are_drawn_equally_while_they_last(api: httpx.AsyncClient) -> None:
    stored = memories(100)
    for i, memory in enumerate(stored):
        memory["regime"] = "rare" if i < 10 else "a,b"
    await store(api, stored)
    page = await sample(api, size=16, stratify_by="regime", seed=3)
    assert Counter(m["regime"] for m in page["memories"]) == {"rare": 8, "a,b": 8}
    page = await sample(api, size=50, stratify_by="regime", seed=3)
    assert Counter(m["regime"] for m in page["memories"]) == {"rare": 10, "a,b": 40}
    assert sum(m["probability"] for m in page["memories"] if m["regime"] == "rare") == (
        pytest.approx(0.5)
    )


async def test_only_what_was_known_closed_and_asked_for(api: httpx.AsyncClient) -> None:
    stored = memories(40)
    for memory in stored[:5]:
        del memory["reward"], memory["outcome_at"]
    await store(api, stored + memories(5, agent_id="agent_2"))
    page = await sample(api, size=4096, include_vectors=True)
    assert {m["id"] for m in page["memories"]} == {f"m{i}" for i in range(5, 40)}
    assert page["population"] == page["count"] == 35
    assert len(page["memories"][0]["state_vector"]) == len(stored[0]["state_vector"])
    early = await sample(api, size=100, as_of=1_700_000_110.0, product_id="BTC-USD")
    assert {m["id"] for m in early["memories"]} == {"m6", "m8", "m10"}
    whole = await sample(api, size=100, agent_id=None)
    assert whole["population"] == 40


async def test_a_priority_given_later_was_none_before(api: httpx.AsyncClient) -> None:
    await store(api, memories(2))
    await api.patch("/v1/episodic/agent_1/m0", json={"priority": 1e6})
    for as_of, high in [(None, True), (1_700_001_000.0, False)]:
        page = await sample(api, size=2, strategy="prioritized", as_of=as_of)
        chance = {m["id"]: m["probability"] for m in page["memories"]}["m0"]
        assert (chance > 0.99) == high


async def test_a_cursor_of_another_sample_is_refused(api: httpx.AsyncClient) -> None:
    await store(api, memories(50))
    cursor = (await sample(api, size=10))["next_cursor"]
    for wrong in ({"strategy": "prioritized", "cursor": cursor}, {"cursor": "x"}):
        refused = await api.post("/v1/episodic/sample", json={"agent_id": "agent_1"} | wrong)
        assert (refused.status_code, refused.json()["field"]) == (422, "cursor")
