"""Recalls, decisions and what the memory adds to them, over HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from redis.asyncio import Redis

from app.decisions.ledger import FEWEST_BEFORE
from app.decisions.recall_ids import Shares, new_recall_id, read_recall_id
from app.model import ARMS, ArmName
from app.settings import Settings
from app.uplift.confidence import uplift_interval
from tests.auth.keyed_service import keyed_service, with_keys
from tests.conftest import DIMENSION, running_service
from tests.uplift.planted_decisions import folded

ARMED = {"arm_no_memory_share": 0.3, "arm_placebo_share": 0.3}
SHARES = Shares(3000, 3000)


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that keeps arms."""
    async with running_service(settings.model_copy(update=ARMED)) as client:
        yield client


def state(number: int) -> list[float]:
    return [float(x) for x in np.random.default_rng(number).normal(size=DIMENSION)]


def memory(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"m{number}",
        "agent_id": "a",
        "product_id": "P",
        "regime": "r",
        "action": "buy",
        "state_vector": state(number),
        "reward": float(number),
        "timestamp": 1000.0 + number,
        "outcome_at": 1000.0 + number,
    } | fields


async def fill(api: httpx.AsyncClient, agent_id: str = "a") -> None:
    memories = [memory(number, agent_id=agent_id) for number in range(40)]
    answer = await api.post("/v1/episodic/batch", json={"memories": memories})
    assert answer.json()["failed"] == 0, answer.text


async def ask(api: httpx.AsyncClient, route: str, number: int, **fields: Any) -> dict[str, Any]:
    body = {"agent_id": "a", "state_vector": state(number), "top_k": 3, "recall": True} | fields
    answer = await api.post(f"/v1/episodic/{route}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def recalls_of(api: httpx.AsyncClient, arm: str, count: int, **more: Any) -> list[str]:
    """Ask about new states until so many answers came from this arm."""
    found: list[str] = []
    for number in range(1000, 3000):
        answer = await ask(api, "search", number, **more)
        if answer["arm"] == arm:
            found.append(answer["recall_id"])
        if len(found) == count:
            return found
    raise AssertionError(f"{arm} is never drawn")


async def uplift_of(api: httpx.AsyncClient, agent_id: str = "a") -> dict[str, Any]:
    answer = await api.get("/v1/uplift", params={"agent_id": agent_id})
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


def closed(report: dict[str, Any]) -> dict[str, int]:
    return {arm["arm"]: arm["closed"] for arm in report["arms"]}


def made_ids(count: int, agent_id: str = "a", shares: Shares = SHARES) -> list[tuple[str, int]]:
    """Ids of recalls as the service makes them, each of a unit of its own, and their arms."""
    rng = np.random.default_rng(1)
    drawn = rng.choice(3, count, p=np.array(shares.chances) / 10_000)
    return [
        (
            new_recall_id(agent_id, ARMS[arm], shares, i.to_bytes(8, "big"), time.time()),
            int(arm),
        )
        for i, arm in enumerate(drawn)
    ]


async def test_each_arm_says_what_it_is(api: httpx.AsyncClient) -> None:
    await fill(api)
    seen: dict[ArmName, int] = dict.fromkeys(ARMS, 0)
    for number in range(100, 160):
        found = await ask(api, "search", number, as_of=1e6)
        again = await ask(api, "estimate", number, as_of=1e6)
        plain = await ask(api, "search", number, recall=False, as_of=1e6)
        assert "recall_id" not in plain
        assert "arm" not in plain
        assert found["arm"] == again["arm"], "one state at one moment has one arm"
        assert found["recall_id"] != again["recall_id"]
        arm: ArmName = found["arm"]
        seen[arm] += 1
        if arm == "memory":
            assert found["memories"] == plain["memories"]
            assert again["actions"][0]["count"] == 3
        elif arm == "no_memory":
            assert (found["memories"], again["actions"], again["memories"]) == ([], [], [])
            assert found["served_by"] == "none"
        else:
            # True memories of the agent, nearest to another of its states.
            assert {hit["reward"] for hit in found["memories"]} <= {float(n) for n in range(40)}
            assert found["memories"] != plain["memories"]
            assert is_of_another_state(found)
            assert again["count"] == 2
    assert min(seen.values()) > 8, seen
    live = [await ask(api, "search", number) for number in range(100, 160)]
    for one in live:
        if one["arm"] == "placebo":
            assert is_of_another_state(one)
    assert {one["arm"] for one in live} == set(ARMS)
    batch = {"searches": [{"agent_id": "a", "state_vector": state(7), "recall": True}]}
    answer = (await api.post("/v1/episodic/search/batch", json=batch)).json()
    assert answer["results"][0]["recall_id"].startswith("recall-")
    past = [await ask(api, "search", n, as_of=1005.0) for n in range(100, 160)]
    of_placebo = [one for one in past if one["arm"] == "placebo"]
    assert of_placebo
    for one in of_placebo:
        assert {hit["reward"] for hit in one["memories"]} <= {float(n) for n in range(6)}
    metrics = (await api.get("/metrics")).text
    assert 'memory_recalls_total{arm="placebo"}' in metrics


def is_of_another_state(answer: dict[str, Any]) -> bool:
    """Whether these are the memories nearest to one of the agent's, but for that one itself."""
    stored = np.array([state(number) for number in range(40)])
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    distances = 1.0 - stored @ stored.T
    np.fill_diagonal(distances, np.inf)
    found = [hit["distance"] for hit in answer["memories"]]
    nearest = np.sort(distances, axis=1)[:, : len(found)]
    return len(found) == 3 and bool(np.isclose(nearest, found, atol=1e-5).all(axis=1).any())


async def test_a_memory_under_the_recalls_id_is_the_decision(
    api: httpx.AsyncClient, redis: Redis
) -> None:
    await fill(api)
    first, second, third = await recalls_of(api, "memory", 3)
    stored = memory(50, id=first, reward=None, outcome_at=None)
    stored = {name: value for name, value in stored.items() if value is not None}
    assert (await api.post("/v1/episodic", json=stored)).status_code == 201
    assert closed(await uplift_of(api))["memory"] == 0
    for _ in range(2):  # repeating counts nothing twice
        outcome = await api.post(f"/v1/episodic/a/{first}/outcome", json={"reward": 0.5})
        assert outcome.status_code == 200
    more = {"outcomes": [{"horizon": "5d", "reward": 1.0, "outcome_at": 5000.0}]}
    assert (await api.post(f"/v1/episodic/a/{first}/outcome", json=more)).status_code == 200
    report = await uplift_of(api)
    assert closed(report) == {"memory": 1, "no_memory": 0, "placebo": 0}
    assert report["arms"][0]["mean_reward"] == 0.5
    assert report["arms"][1]["expected"] == pytest.approx(0.3)
    assert [(one["name"], closed(one)["memory"]) for one in report["products"]] == [("P", 1)]
    assert [one["name"] for one in report["regimes"]] == ["r"]
    # With its outcome at once, alone or in a batch.
    for _ in range(2):
        await api.post("/v1/episodic", json=memory(51, id=second, reward=1.5))
        both = [memory(52, id=third, reward=2.5, product_id="Q"), memory(53)]
        await api.post("/v1/episodic/batch", json={"memories": both})
    report = await uplift_of(api)
    assert (closed(report)["memory"], report["arms"][0]["mean_reward"]) == (3, 1.5)
    assert [one["name"] for one in report["products"]] == ["P", "Q"]
    # An id that only looks like one is any memory's.
    await api.post("/v1/episodic", json=memory(54, id=first[:-1] + "x", reward=9.0))
    await api.post("/v1/episodic", json=memory(55, id=third, agent_id="b", reward=9.0))
    assert closed(await uplift_of(api))["memory"] == 3
    assert closed(await uplift_of(api, "b"))["memory"] == 0
    # With the agent's last memory its decisions go.
    assert await redis.keys("episodic_uplift:*") == [b"episodic_uplift:{a}"]
    await api.post("/v1/episodic/delete", json={"agent_id": "a", "dry_run": False, "until": 1e9})
    assert await redis.keys("episodic_uplift:*") == []
    assert await redis.keys("episodic_decisions:*") == []


async def test_a_decision_without_a_memory(api: httpx.AsyncClient, redis: Redis) -> None:
    (recall,) = await recalls_of(api, "no_memory", 1)
    body = {"recall_id": recall, "action": "hold", "product_id": "P"}
    posted = await api.post("/v1/decisions", json=body | {"arm": "no_memory"})
    assert posted.status_code == 201
    assert posted.json() == {
        "recall_id": recall,
        "agent_id": "a",
        "arm": "no_memory",
        "action": "hold",
        "created": True,
        "counts": True,
        "durability": "memory",
    }
    again = await api.post("/v1/decisions", json=body)
    assert (again.status_code, again.json()["created"]) == (200, False)
    for wrong in ({"arm": "memory"}, {"action": "buy"}):
        refused = await api.post("/v1/decisions", json=body | wrong)
        assert (refused.status_code, refused.json()["code"]) == (409, "decision_conflict")
    left_s = await redis.httl("episodic_decisions:{a}", unit(recall))
    assert left_s is not None
    assert 29 * 86_400 < left_s[0] <= 30 * 86_400
    path = f"/v1/decisions/{recall}/outcome"
    done = await api.post(path, json={"reward": -0.25})
    told = {"recall_id": recall, "agent_id": "a", "changed": True, "durability": "memory"}
    assert done.json() == told
    assert (await api.post(path, json={"reward": -0.25})).json()["changed"] is False
    refused = await api.post(path, json={"reward": 1.0})
    assert (refused.status_code, refused.json()["code"]) == (409, "decision_conflict")
    report = await uplift_of(api)
    assert closed(report) == {"memory": 0, "no_memory": 1, "placebo": 0}
    assert report["regimes"] == []
    page = (await api.get("/v1/uplift")).json()
    assert (page["agents"], page["next_cursor"]) == ([], None)  # it has no memory
    # Of one state within a minute one decision counts.
    twin = read_recall_id(recall)
    assert twin is not None
    other = new_recall_id("a", "no_memory", SHARES, bytes.fromhex(twin.unit), twin.issued_at)
    second = await api.post("/v1/decisions", json=body | {"recall_id": other})
    assert (second.status_code, second.json()["counts"]) == (200, False)
    for odd, code in ((f"{recall}A", "recall_unknown"), ("m1", "recall_unknown")):
        missing = await api.post("/v1/decisions", json=body | {"recall_id": odd})
        assert (missing.status_code, missing.json()["code"]) == (404, code)
    old = new_recall_id("a", "memory", SHARES, bytes(8), twin.issued_at - 31 * 86_400)
    late = await api.post("/v1/decisions", json=body | {"recall_id": old})
    assert (late.status_code, late.json()["code"]) == (404, "recall_unknown")
    never = new_recall_id("a", "memory", SHARES, bytes(8), twin.issued_at)
    unposted = await api.post(f"/v1/decisions/{never}/outcome", json={"reward": 1.0})
    assert (unposted.status_code, unposted.json()["code"]) == (404, "decision_unknown")
    # An agent that never stored a memory is forgotten by deleting all of it.
    await api.post("/v1/episodic/delete", json={"agent_id": "a", "dry_run": False})
    assert await redis.keys("episodic_*") == []


def unit(recall_id: str) -> str:
    ticket = read_recall_id(recall_id)
    assert ticket is not None
    return ticket.unit


@pytest.mark.parametrize("agent_id", ["x" * 60, "x" * 61, "ж" * 128])
async def test_names_of_any_length(api: httpx.AsyncClient, agent_id: str) -> None:
    found = await ask(api, "search", 1, agent_id=agent_id)
    recall = found["recall_id"]
    assert len(recall) <= 128
    body = {"recall_id": recall, "action": "buy"}
    if len(agent_id.encode()) > 60:
        unnamed = await api.post("/v1/decisions", json=body)
        assert (unnamed.status_code, unnamed.json()["field"]) == (422, "agent_id")
        other = await api.post("/v1/decisions", json=body | {"agent_id": "y" * 70})
        assert (other.status_code, other.json()["code"]) == (404, "recall_unknown")
        body["agent_id"] = agent_id
    assert (await api.post("/v1/decisions", json=body)).status_code == 201


async def post_outcomes(
    api: httpx.AsyncClient, ids: Sequence[tuple[str, int]], rewards: Sequence[float]
) -> None:
    """Store a memory for each recall, in their order, in batches."""
    memories = [
        memory(i, id=recall, reward=float(reward), regime="calm" if i % 2 else "wild")
        for i, ((recall, _), reward) in enumerate(zip(ids, rewards, strict=True))
    ]
    for start in range(0, len(memories), 500):
        part = memories[start : start + 500]
        answer = await api.post("/v1/episodic/batch", json={"memories": part})
        assert answer.json()["created"] == len(part), answer.text


async def test_the_service_counts_as_the_method_says(api: httpx.AsyncClient) -> None:
    ids = made_ids(900)
    rng = np.random.default_rng(2)
    arms = np.array([arm for _, arm in ids])
    rewards = rng.normal(size=len(ids)) + 5.0 + 1.5 * (arms == 0)
    await post_outcomes(api, ids, rewards.tolist())
    report = await uplift_of(api)
    for index, name in ((1, "no_memory"), (2, "placebo")):
        n, total, squares = folded(arms, rewards, index, 0.4 / 0.7, FEWEST_BEFORE)
        expected = uplift_interval(n, total, squares)
        (found,) = (one for one in report["comparisons"] if one["against"] == name)
        assert found["decisions"] == n
        assert found["uplift"] == pytest.approx(expected.uplift, rel=1e-9)
        assert found["low"] == pytest.approx(expected.low, rel=1e-9)
        assert found["low"] < 1.5 < found["high"]
        assert found["verdict"] == "helps"
    assert [one["name"] for one in report["regimes"]] == ["calm", "wild"]
    assert sum(closed(one)["memory"] for one in report["regimes"]) == closed(report)["memory"]
    page = (await api.get("/v1/uplift")).json()
    assert [one["agent_id"] for one in page["agents"]] == ["a"]
    await api.post("/v1/episodic/delete", json={"agent_id": "a", "dry_run": False})
    assert set(closed(await uplift_of(api)).values()) == {0}


async def test_equal_rewards_differ_by_nothing(api: httpx.AsyncClient, redis: Redis) -> None:
    ids = made_ids(200)
    await post_outcomes(api, ids, [0.1] * len(ids))
    kept = await redis.hget("episodic_uplift:{a}", "all")
    assert isinstance(kept, bytes)
    numbers = [float(word) for word in kept.split()]
    assert min(numbers[9], numbers[12]) > 50
    assert [numbers[i] for i in (10, 11, 13, 14)] == [0.0] * 4
    assert {arm["mean_reward"] for arm in (await uplift_of(api))["arms"]} == {0.1}


async def test_the_sign_of_a_zero_is_no_other_outcome(api: httpx.AsyncClient) -> None:
    await fill(api)
    recall_id = (await ask(api, "search", 5000))["recall_id"]
    await api.post("/v1/decisions", json={"recall_id": recall_id, "action": "buy"})
    for text, changed in (("-0.0", True), ("0", False), ("-0", False)):
        answer = await api.post(
            f"/v1/decisions/{recall_id}/outcome",
            content=f'{{"reward": {text}}}',
            headers={"Content-Type": "application/json"},
        )
        assert (answer.status_code, answer.json()["changed"]) == (200, changed)


async def test_ids_that_no_service_makes_are_unknown(api: httpx.AsyncClient) -> None:
    """The checksum is no secret: names and shares that cannot be are refused one by one."""
    now, unit = time.time(), b"12345678"
    forged = [new_recall_id(name, "memory", SHARES, unit, now) for name in ("a}b{", "a\0b")]
    never: list[tuple[ArmName, Shares]] = [
        ("no_memory", Shares(0, 5000)),
        ("placebo", Shares(5000, 0)),
        ("memory", Shares(5000, 5000)),
    ]
    forged += [new_recall_id("a", arm, shares, unit, now) for arm, shares in never]
    for recall_id in forged:
        answer = await api.post("/v1/decisions", json={"recall_id": recall_id, "action": "buy"})
        assert (answer.status_code, answer.json()["code"]) == (404, "recall_unknown")


async def test_a_key_decides_for_its_own_agent(settings: Settings, tmp_path: Path) -> None:
    async with keyed_service(with_keys(settings, tmp_path)) as service:
        one = await service.caller("write", ["one"])
        two = await service.caller("write", ["two"])
        reader = await service.caller("read", ["one"])
        recall = (await ask(one, "search", 1, agent_id="one"))["recall_id"]
        body = {"recall_id": recall, "action": "buy"}
        for answer in (
            await two.post("/v1/decisions", json=body),
            await two.post(f"/v1/decisions/{recall}/outcome", json={"reward": 1.0}),
            await two.get("/v1/uplift", params={"agent_id": "one"}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (403, "agent_forbidden")
        assert (await reader.post("/v1/decisions", json=body)).status_code == 403
        assert (await one.post("/v1/decisions", json=body)).status_code == 201
        await one.post("/v1/episodic", json=memory(1, agent_id="one", id=recall))
        assert closed(await uplift_of(reader, "one"))["memory"] == 1
        assert len((await one.get("/v1/uplift")).json()["agents"]) == 1
        assert (await two.get("/v1/uplift")).json()["agents"] == []
        past = await service.caller("read", ["one"], require_as_of=True)
        blind = await past.get("/v1/uplift", params={"agent_id": "one"})
        assert (blind.status_code, blind.json()["field"]) == (422, "as_of")
        blind = await past.post(
            "/v1/episodic/search",
            json={"agent_id": "one", "state_vector": state(1), "recall": True},
        )
        assert (blind.status_code, blind.json()["field"]) == (422, "as_of")


async def test_harm_is_seen_in_the_metrics(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.uplift.operations.WATCH_INTERVAL_S", 0.05)
    async with running_service(settings.model_copy(update=ARMED)) as api:
        ids = made_ids(700)
        rng = np.random.default_rng(3)
        rewards = [rng.normal() - 2.0 * (arm == 0) for _, arm in ids]
        await post_outcomes(api, ids, rewards)
        async with asyncio.timeout(60):
            while (
                'memory_uplift_agents{verdict="harms"} 1.0' not in (await api.get("/metrics")).text
            ):
                await asyncio.sleep(0.05)


async def test_shares_leave_the_memory_some(settings: Settings) -> None:
    greedy = {"arm_no_memory_share": 0.5, "arm_placebo_share": 0.5}
    with pytest.raises(RuntimeError, match="did not start"):
        async with running_service(settings.model_copy(update=greedy)):
            pass
