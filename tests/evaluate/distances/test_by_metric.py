"""A search by a distance with equal weights over unit vectors is a search by the cosine distance:
the engine itself says what must come out, whatever the filter."""

import random
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from redis.asyncio import Redis

from app import keys
from app.memory.distances.recall import nearest
from app.model import Metric
from app.settings import Settings
from tests.conftest import running_service
from tests.kit.fakes import question as any_question

DIMENSION = 6
T0 = 1_600_000_000.0
AGENTS = ("a", "b", "c")
EVEN = "a:0123456789ab"


def unit(chance: random.Random) -> list[float]:
    drawn = np.array([chance.gauss(0, 1) for _ in range(DIMENSION)])
    return (drawn / np.linalg.norm(drawn)).astype(np.float32).tolist()  # type: ignore[no-any-return]


def moment(chance: random.Random, number: int) -> dict[str, Any]:
    start = T0 + chance.randint(0, 100)
    memory: dict[str, Any] = {
        "id": f"m{number}",
        "agent_id": chance.choice(AGENTS),
        "product_id": chance.choice("PQ"),
        "regime": chance.choice(["bull", "bear"]),
        "state_vector": unit(chance),
        "timestamp": start,
    }
    if chance.random() < 0.8:
        memory |= {"reward": chance.gauss(0, 1), "outcome_at": start + chance.randint(0, 20)}
        memory["terminal"] = chance.random() < 0.3
    if chance.random() < 0.5:
        memory |= {"episode_id": chance.choice("xy"), "step": chance.randint(0, 9)}
    if chance.random() < 0.5:
        memory["action"] = chance.choice(["buy", "sell"])
    if chance.random() < 0.4:
        memory["quality"] = chance.random()
    if chance.random() < 0.4:
        reached = {"horizon": "3d", "reward": 1.0, "outcome_at": start + 3}
        memory["outcomes"] = [reached]
    return memory


def question(chance: random.Random) -> dict[str, Any]:
    some: dict[str, Any] = {
        "product_id": chance.choice("PQ"),
        "regime": "bull",
        "action": ["buy", "sell"],
        "min_reward": chance.gauss(-1, 1),
        "max_reward": chance.gauss(1, 1),
        "since": T0 + chance.randint(0, 60),
        "until": T0 + chance.randint(40, 100),
        "as_of": T0 + chance.randint(20, 120),
        "terminal": chance.random() < 0.5,
        "min_quality": 0.3,
        "episode_id": "x",
        "min_step": 3,
        "max_step": 7,
        "max_distance": chance.random(),
        "recorded_by": 4e9,
        "horizon": "3d",
        "distinct": "outcome",
    }
    names = chance.sample(sorted(some), chance.randint(0, 4))
    asked = {name: some[name] for name in names}
    if "regime" in asked:
        asked["regime_policy"] = chance.choice(["strict", "prefer", "any"])
    return {
        "agent_id": "a",
        "state_vector": unit(chance),
        "top_k": chance.choice([1, 5, 40]),
        "scope": chance.choice(["own", "others", "all"]),
        **asked,
    }


async def keep_even(settings: Settings) -> None:
    """Keep a distance that weighs all numbers alike."""
    assert settings.redis_url is not None
    redis = Redis.from_url(settings.redis_url.get_secret_value())
    born: Any = await redis.hget(keys.episodic_partition("a"), "born")
    record = {
        "id": EVEN,
        "agent_id": "a",
        "born": (born or b"").decode(),
        "created_at": T0,
        "known_at": T0,
        "scaled_weights": [0.5] * DIMENSION,
    }
    await redis.hset(keys.episodic_distances("a"), EVEN, orjson.dumps(record))
    await redis.aclose()


@pytest.mark.parametrize("layout", ["per_agent", "shared"])
async def test_even_weights_find_what_the_engine_finds(settings: Settings, layout: str) -> None:
    chance = random.Random(layout)
    chosen = settings.model_copy(update={"dimension": DIMENSION, "layout": layout})
    async with running_service(chosen) as api:
        memories = [moment(chance, number) for number in range(300)]
        answer = await api.post("/v1/episodic/batch", json={"memories": memories})
        assert answer.json()["failed"] == 0, answer.text
        await keep_even(chosen)
        found = [await same(api, question(chance)) for _ in range(60)]
        assert sum(found) > 120  # few questions are empty
        for gone in ("m7", "m8", "m9"):
            owner = next(m["agent_id"] for m in memories if m["id"] == gone)
            assert (await api.delete(f"/v1/episodic/{owner}/{gone}")).status_code in {200, 204}
        later = [moment(chance, number) for number in range(300, 320)]
        await api.post("/v1/episodic/batch", json={"memories": later})
        for _ in range(20):
            await same(api, question(chance))
        whole = {"agent_id": "a", "state_vector": unit(chance), "metric": EVEN, "explain": True}
        told = (
            await api.post("/v1/episodic/search", json={**whole, "include_vectors": True})
        ).json()
        assert (told["exact"], told["metric"], told["served_by"]) == (True, EVEN, "process")
        said = told["explain"]
        assert (said["algorithm"], said["node"]) == ("METRIC", "process")
        assert (said["index"], said["searches"], said["batch_size"]) == (None, 0, 0)
        assert 0 < said["stages_ms"]["redis"] < said["stages_ms"]["total"]
        for hit in told["memories"]:
            there = np.array(hit["state_vector"], np.float32).astype(np.float64)
            away = there - np.array(whole["state_vector"])
            assert hit["distance"] == pytest.approx((away**2).sum() / 2, abs=1e-12)


async def same(api: httpx.AsyncClient, asked: dict[str, Any]) -> int:
    """Return how many memories a question finds, after comparing both ways to it."""
    plain = (await api.post("/v1/episodic/search", json={**asked, "exact": True})).json()
    weighted = (await api.post("/v1/episodic/search", json={**asked, "metric": EVEN})).json()
    by_engine = [(hit["id"], hit.get("regime_step")) for hit in plain["memories"]]
    by_weights = [(hit["id"], hit.get("regime_step")) for hit in weighted["memories"]]
    assert by_weights == by_engine, asked
    assert weighted.get("found") == plain.get("found")
    told = {name: value for name, value in asked.items() if name != "distinct"}
    one = (await api.post("/v1/episodic/estimate", json=told)).json()
    other = (await api.post("/v1/episodic/estimate", json={**told, "metric": EVEN})).json()
    assert other["memories"] == one["memories"]
    assert [a["value"] for a in other["actions"]] == pytest.approx(
        [a["value"] for a in one["actions"]], abs=1e-4
    )
    return len(by_engine)


def test_a_distance_is_the_same_whatever_it_is_compared_with() -> None:
    """To the last digit: what comes later may change no answer as of an earlier moment."""
    random = np.random.default_rng(3)
    states = random.normal(size=(300, 24)).astype(np.float32)
    metric = Metric("a:1", T0, random.random(24))
    asked = any_question(vector=states[7].tobytes(), top_k=300)
    whole = dict(zip(*map(list, nearest(states, np.arange(300), asked, metric)), strict=True))
    for _ in range(40):
        rows = np.sort(random.choice(300, random.integers(1, 60), replace=False))
        found, distances = nearest(states, rows, asked, metric)
        assert distances.tolist() == [whole[row] for row in found.tolist()]
