"""Samples: frequencies pass a chi-square test, and the stated chances are the true ones."""

from collections import Counter
from decimal import Context, Decimal, localcontext
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from app import keys
from tests.api.test_episodic_search import memories, store
from tests.api.test_sample import CHI_SQUARE_999, all_pages, sample


@pytest.mark.parametrize("strategy", ["uniform", "prioritized"])
@pytest.mark.parametrize(("size", "pages"), [(1, 2), (2, 1), (2, 2), (4, 1)])
async def test_each_stratum_gets_its_share_on_every_page(
    api: httpx.AsyncClient, strategy: str, size: int, pages: int
) -> None:
    """Five strata of unlike sizes: over many seeds none is favoured, nor is a page's first turn."""
    names = ["a", "b", "c", "d", "e"]
    stored = memories(60)
    for i, memory in enumerate(stored):
        memory["regime"] = names[min(i // 8, 4)]
    await store(api, stored)
    draws, drawn, first = 250, Counter[str](), Counter[str]()
    for seed in range(draws):
        how: dict[str, Any] = {"strategy": strategy, "stratify_by": "regime"}
        how |= {"size": size, "seed": seed}
        page = await sample(api, **how)
        for _ in range(pages - 1):
            page = await sample(api, cursor=page["next_cursor"], **how)
        drawn.update(m["regime"] for m in page["memories"])
        first[page["memories"][0]["regime"]] += 1
    for observed, expected in ((drawn, draws * size / 5), (first, draws / 5)):
        assert sum(observed.values()) == expected * 5
        distance = sum((observed[name] - expected) ** 2 / expected for name in names)
        assert distance < CHI_SQUARE_999[4], observed


async def test_the_stated_chance_of_a_stratified_draw_is_the_true_one(
    api: httpx.AsyncClient,
) -> None:
    stored = memories(10)
    for i, memory in enumerate(stored):
        memory |= {"priority": float(i + 1), "regime": "few" if i < 3 else "many"}
    await store(api, stored)
    how: dict[str, Any] = {"strategy": "prioritized", "stratify_by": "regime", "alpha": 1}
    whole = await sample(api, size=10, seed=0, **how)
    chances = {m["id"]: m["probability"] for m in whole["memories"]}
    assert sum(chances.values()) == pytest.approx(1, abs=1e-12)
    draws, firsts = 600, Counter[str]()
    for seed in range(draws):
        firsts[(await sample(api, size=1, seed=seed, **how))["memories"][0]["id"]] += 1
    distance = sum((firsts[n] - draws * p) ** 2 / (draws * p) for n, p in chances.items())
    assert distance < CHI_SQUARE_999[9], firsts


EXTREMES: list[tuple[float, float, str, list[float]]] = [
    (10, 5, "reward", [0.0, 1.0, 5.0]),
    (6, 10, "reward", [0.0, 1.0, 5.0]),
    (10, 0.4, "priority", [1e31, 1e31, 1.0]),
    (2, 10, "priority", [1e300, 1e300, 1.0]),
    (1, 1, "reward", [1.7e308, -1.7e308, 1.0]),
    (10, 10, "priority", [1.7e308, 0.0, 5e-324]),
]


async def test_chances_and_weights_are_those_of_exact_arithmetic(api: httpx.AsyncClient) -> None:
    for number, (alpha, beta, field, values) in enumerate(EXTREMES):
        agent_id = f"extreme-{number}"
        stored = memories(3, agent_id=agent_id)
        for memory, value in zip(stored, values, strict=True):
            memory[field] = value
        await store(api, stored)
        priorities = {m["id"]: abs(Decimal(m[field])) for m in stored}
        for stratify_by in (None, "product_id"):
            strata = {m["id"]: m[stratify_by] if stratify_by else "" for m in stored}
            how: dict[str, Any] = {"agent_id": agent_id, "strategy": "prioritized", "seed": 1}
            how |= {"alpha": alpha, "beta": beta, "stratify_by": stratify_by}
            page = await sample(api, size=3, **how)
            expected = exact_chances(priorities, strata, Decimal(alpha), Decimal(beta))
            for memory in page["memories"]:
                chance, weight = expected[memory["id"]]
                assert memory["probability"] == pytest.approx(chance, rel=1e-9, abs=1e-300)
                assert memory["weight"] == pytest.approx(weight, rel=1e-9, abs=1e-300)
            assert max(m["weight"] for m in page["memories"]) == 1
            assert sorted(await all_pages(api, size=1, **how)) == ["m0", "m1", "m2"]


def exact_chances(
    priorities: dict[str, Decimal], strata: dict[str, str], alpha: Decimal, beta: Decimal
) -> dict[str, tuple[float, float]]:
    """Return each one's chance to be drawn first and its importance weight."""
    with localcontext(Context(prec=60, Emax=10**6, Emin=-(10**6))):
        power = {name: (p + Decimal("1e-6")) ** alpha for name, p in priorities.items()}
        names = set(strata.values())
        sums = {s: sum(p for name, p in power.items() if strata[name] == s) for s in names}
        chance = {name: p / sums[strata[name]] / len(names) for name, p in power.items()}
        importance = {name: (len(power) * p) ** -beta for name, p in chance.items()}
        largest = max(importance.values())
        return {name: (float(p), float(importance[name] / largest)) for name, p in chance.items()}


async def test_a_few_left_of_many_numbers_are_found_in_a_few_windows(
    api: httpx.AsyncClient, redis: Redis
) -> None:
    stored = memories(12)
    await store(api, stored[:6])
    partition = keys.episodic_partition("agent_1")
    await redis.hset(partition, "seq", 12_000_000)
    await store(api, stored[6:])
    before = await _searches(redis)
    page = await sample(api, size=20)
    assert sorted(m["id"] for m in page["memories"]) == sorted(f"m{i}" for i in range(12))
    assert await _searches(redis) - before < 30


async def _searches(redis: Redis) -> int:
    told = await redis.info("commandstats")
    stats = told.get("cmdstat_FT.AGGREGATE", {})
    return int(stats.get("calls", 0))
