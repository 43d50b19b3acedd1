"""Estimates over HTTP: made of the search's memories, closed ones only, with honest support."""

from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from app.settings import Settings
from tests.api.test_episodic_search import Memory, cosine_distance, store
from tests.api.test_episodic_search import memories as overlapping_memories
from tests.conftest import DIMENSION, running_service

Vector = Callable[[int], list[float]]


def memories(count: int, agent_id: str = "agent_1", seed: int = 1) -> list[Memory]:
    """Memories of which no two overlap in time."""
    found = overlapping_memories(count, agent_id, seed)
    for i, memory in enumerate(found):
        memory["timestamp"] += 1000 * i
        memory["outcome_at"] += 1000 * i
    return found


def question(vector: Vector, **fields: Any) -> dict[str, Any]:
    return {"agent_id": "agent_1", "state_vector": vector(1), **fields}


async def estimate(api: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    answer = await api.post("/v1/episodic/estimate", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_equals_a_sum_over_the_search(api: httpx.AsyncClient, vector: Vector) -> None:
    await store(api, memories(300))
    body = question(vector, top_k=40, max_distance=1.2, product_id="BTC-USD")
    hits = (await api.post("/v1/episodic/search", json=body)).json()["memories"]
    found = await estimate(api, body | {"stop_loss": 0.5})
    assert found["memories"] == [hit["id"] for hit in hits]
    assert found["count"] == sum(action["count"] for action in found["actions"]) == len(hits)
    for action in found["actions"]:
        own = [hit for hit in hits if hit["action"] == action["action"]]
        weights = 1 / (np.array([hit["distance"] for hit in own]) + 1e-3)
        rewards = np.array([hit["reward"] for hit in own])
        assert action["value"] == pytest.approx(np.average(rewards, weights=weights), abs=1e-6)
        losses = np.average(rewards < -0.5, weights=weights)
        assert action["loss_probability"] == pytest.approx(losses, abs=1e-6)
    assert found["exact"] is True
    assert found["partial"] is False


async def test_the_same_question_again_comes_from_the_cache(
    api: httpx.AsyncClient, vector: Vector
) -> None:
    """The push of a write to its own service comes later, and ends once more what is cached."""
    await store(api, memories(20))
    for seed in range(50):
        body = question(vector) | {"state_vector": vector(seed)}
        await estimate(api, body)
        if (await estimate(api, body))["cached"]:
            break
    else:
        pytest.fail("an estimate never came from the cache")


async def test_open_memories_never_count(api: httpx.AsyncClient, vector: Vector) -> None:
    closed = memories(30)
    opened = [
        {
            "id": f"open{i}",
            "agent_id": "agent_1",
            "product_id": "BTC-USD",
            "regime": "bull",
            "action": "buy",
            "state_vector": vector(1),
        }
        for i in range(12)
    ]
    await store(api, closed + opened)
    found = await estimate(api, question(vector, top_k=10))
    assert found["count"] == 10
    assert not any(name.startswith("open") for name in found["memories"])


async def test_novelty_is_the_place_among_the_memory_s_own_distances(
    api: httpx.AsyncClient, vector: Vector
) -> None:
    stored = memories(40)
    await store(api, stored)
    for as_of in (None, stored[20]["timestamp"]):
        known = [m for m in stored if as_of is None or m["outcome_at"] <= as_of]
        own = [
            min(
                cosine_distance(one["state_vector"], m["state_vector"])
                for m in stored
                if m["outcome_at"] <= one["timestamp"]
            )
            for one in known[1:]
        ]
        for seed in range(5):
            asked = question(vector, as_of=as_of) | {"state_vector": vector(seed)}
            nearest = min(cosine_distance(m["state_vector"], asked["state_vector"]) for m in known)
            expected = (1 + np.count_nonzero(np.array(own) < nearest)) / (1 + len(own))
            assert (await estimate(api, asked))["novelty"] == pytest.approx(expected, abs=1e-6)
        same = question(vector, as_of=as_of) | {"state_vector": stored[0]["state_vector"]}
        assert (await estimate(api, same))["novelty"] == pytest.approx(1 / (1 + len(own)))


async def test_nothing_known_is_new_and_not_to_be_trusted(
    api: httpx.AsyncClient, vector: Vector
) -> None:
    found = await estimate(api, question(vector))
    assert (found["actions"], found["memories"], found["count"]) == ([], [], 0)
    assert (found["novelty"], found["confidence"]) == (1, 0)


async def test_a_state_that_is_a_memory_is_not_new(api: httpx.AsyncClient, vector: Vector) -> None:
    """However few memories there are, and whatever rounding leaves of a distance of 0."""
    for seed in range(20):
        (memory,) = memories(1)
        memory |= {"agent_id": f"one-{seed}", "state_vector": vector(seed)}
        await store(api, [memory])
        asked = question(vector) | {"agent_id": f"one-{seed}"}
        for length in (1.0, 3.7, 1e-3):
            same = [length * x for x in vector(seed)]
            found = await estimate(api, asked | {"state_vector": same})
            assert (found["novelty"], found["confidence"]) == (0, pytest.approx(1 / 11))
        found = await estimate(api, asked | {"state_vector": vector(seed + 1)})
        assert (found["novelty"], found["confidence"]) == (1, 0)


async def test_regime_policy(api: httpx.AsyncClient, vector: Vector) -> None:
    stored = memories(60)
    for i, memory in enumerate(stored):
        memory["regime"] = "rare" if i < 4 else "common"
    await store(api, stored)
    ranked = sorted(stored, key=lambda m: cosine_distance(m["state_vector"], vector(1)))
    rare = [m["id"] for m in ranked if m["regime"] == "rare"]
    common = [m["id"] for m in ranked if m["regime"] == "common"]
    expected = {
        "strict": rare,
        "prefer": rare + common[:6],
        "any": [m["id"] for m in ranked[:10]],
    }
    for policy, ids in expected.items():
        body = question(vector, regime="rare", regime_policy=policy)
        hits = (await api.post("/v1/episodic/search", json=body)).json()["memories"]
        assert [hit["id"] for hit in hits] == ids
        steps = ["asked" if hit["regime"] == "rare" else "other" for hit in hits]
        assert [hit.get("regime_step") for hit in hits] == (
            [None] * 4 if policy == "strict" else steps
        )
        assert (await estimate(api, body))["memories"] == ids
        # Fewer than are asked for: all that the policy lets answer.
        whole = (await estimate(api, body | {"top_k": 70}))["memories"]
        assert whole == {"strict": rare, "prefer": rare + common}.get(
            policy, [m["id"] for m in ranked]
        )
    refused = await api.post("/v1/episodic/search", json=question(vector, regime_policy="prefer"))
    assert (refused.status_code, refused.json()["field"]) == (422, "regime_policy")


def at_cosine(cosine: float) -> list[float]:
    return [cosine, (1 - cosine * cosine) ** 0.5] + [0.0] * (DIMENSION - 2)


@pytest.mark.parametrize("layout", ["per_agent", "shared"])
async def test_what_is_too_far_takes_no_place(settings: Settings, layout: Any) -> None:
    """Three far memories of the asked regime and three near ones of another, of either agent."""
    stored = []
    for agent_id in ("agent_1", "agent_2"):
        for i, memory in enumerate(memories(6, agent_id=agent_id)):
            far = i < 3
            memory["regime"] = "bull" if far else "bear"
            memory["state_vector"] = at_cosine(0.1 + i / 100 if far else 0.99 - i / 100)
            stored.append(memory)
    async with running_service(settings.model_copy(update={"layout": layout})) as api:
        await store(api, stored)
        asked = {"agent_id": "agent_1", "state_vector": at_cosine(1.0), "max_distance": 0.5}
        asked |= {"regime": "bull", "regime_policy": "prefer", "top_k": 3}
        for scope in ("own", "others", "all"):
            body = asked | {"scope": scope}
            single = (await api.post("/v1/episodic/search", json=body)).json()
            batch = await api.post("/v1/episodic/search/batch", json={"searches": [body]})
            found = await estimate(api, body | {"distinct": "none"})
            expected = ["m3", "m3", "m4"] if scope == "all" else ["m3", "m4", "m5"]
            assert [m["id"] for m in single["memories"]] == expected
            assert [m["id"] for m in batch.json()["results"][0]["memories"]] == expected
            assert (found["memories"], found["count"]) == (expected, 3)


async def test_an_opposite_state_is_at_most_2_away(api: httpx.AsyncClient, vector: Vector) -> None:
    stored = memories(40)
    for seed, memory in enumerate(stored):
        memory["state_vector"] = vector(seed)
    await store(api, stored)
    for seed in range(40):
        opposite = [-x for x in vector(seed)]
        body = {"agent_id": "agent_1", "state_vector": opposite, "max_distance": 2, "top_k": 40}
        hits = (await api.post("/v1/episodic/search", json=body)).json()["memories"]
        assert len(hits) == 40
        assert max(hit["distance"] for hit in hits) <= 2


async def test_overlapping_memories_are_one_piece_of_evidence(
    api: httpx.AsyncClient, vector: Vector
) -> None:
    """Searches and estimates keep the same ones, however far they must reach for them."""
    stored = overlapping_memories(400)
    for i, memory in enumerate(stored):
        memory["outcome_at"] = memory["timestamp"] + (5 if i % 4 else 300)
    await store(api, stored)
    ranked = sorted(stored, key=lambda m: cosine_distance(m["state_vector"], vector(1)))
    kept: list[Memory] = []
    found = 0
    for memory in ranked:
        if len(kept) == 10:
            break
        found += 1
        if not any(
            memory["product_id"] == other["product_id"]
            and memory["timestamp"] < other["outcome_at"]
            and other["timestamp"] < memory["outcome_at"]
            for other in kept
        ):
            kept.append(memory)
    counted = {"found": found, "distinct": 10, "overlapping": found - 10}
    asked = question(vector, top_k=10)
    answer = (await api.post("/v1/episodic/search", json=asked | {"distinct": "outcome"})).json()
    estimated = await estimate(api, asked)
    assert [m["id"] for m in answer["memories"]] == [m["id"] for m in kept]
    assert estimated["memories"] == [m["id"] for m in kept]
    assert {name: answer[name] for name in counted} == counted
    assert {name: estimated[name] for name in counted} == counted
    plain = (await api.post("/v1/episodic/search", json=asked)).json()
    assert [m["id"] for m in plain["memories"]] == [m["id"] for m in ranked[:10]]
    assert "distinct" not in plain
    everything = await estimate(api, asked | {"distinct": "none"})
    assert everything["memories"] == [m["id"] for m in ranked[:10]]
    assert (everything["found"], everything["overlapping"]) == (10, 0)


async def test_what_is_foreseen_is_what_the_engine_orders(
    api: httpx.AsyncClient, vector: Vector
) -> None:
    """The second time it is known how far to reach, and only those that count are asked for."""
    found = memories(300)
    for day, memory in enumerate(found):
        memory |= {"product_id": "X", "timestamp": float(day), "outcome_at": day + 8.0}
    await store(api, found)
    asked = question(vector, top_k=25, as_of=280.5)
    first, second = [await estimate(api, asked) for _ in range(2)]
    assert first["found"] > 3 * first["distinct"] == 75
    for told in (first, second):
        del told["took_ms"], told["cached"], told["served_by"]
    assert first == second


async def test_an_action_with_one_lucky_memory_is_not_first(
    api: httpx.AsyncClient, vector: Vector
) -> None:
    stored = memories(30)
    for i, memory in enumerate(stored):
        memory["action"] = "known" if i else "lucky"
        memory["reward"] += 1.0 if i else 5.0
    await store(api, stored)
    asked = question(vector, top_k=30)
    known, lucky = (await estimate(api, asked))["actions"]
    assert (known["action"], lucky["action"]) == ("known", "lucky")
    assert known["value_low"] < known["value"] < known["value_high"]
    assert known["standard_error"] == pytest.approx(known["stdev"] / known["independent_n"] ** 0.5)
    alone = ("stdev", "standard_error", "value_low", "value_high")
    assert [lucky[name] for name in alone] == [None] * 4
    best, _ = (await estimate(api, asked | {"rank_by": "value"}))["actions"]
    assert best["action"] == "lucky"


@pytest.mark.parametrize(
    ("name", "value"),
    [("kernel", "linear"), ("bandwidth", 0), ("delta", 0), ("stop_loss", -1)],
)
async def test_bad_input(api: httpx.AsyncClient, vector: Vector, name: str, value: Any) -> None:
    refused = await api.post("/v1/episodic/estimate", json=question(vector) | {name: value})
    assert (refused.status_code, refused.json()["field"]) == (422, name)


async def test_what_is_stored_late_changes_what_was_known(
    api: httpx.AsyncClient, settings: Settings, vector: Vector
) -> None:
    """A memory with an earlier outcome was known to the references that began after it."""
    stored = memories(30)
    await store(api, stored[1:])
    far = question(vector) | {"state_vector": [-x for x in stored[29]["state_vector"]]}
    before = (await estimate(api, far))["novelty"]
    near_to_all = [
        memory | {"id": f"late-{memory['id']}", "timestamp": 1.0 + i, "outcome_at": 2.0 + i}
        for i, memory in enumerate(stored[2:20])
    ]
    await store(api, near_to_all)
    after = (await estimate(api, far))["novelty"]
    assert after > before
    async with running_service(settings) as fresh:
        assert (await estimate(fresh, far))["novelty"] == after
