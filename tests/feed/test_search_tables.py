"""Searches answered from copies are those that Redis would answer, whatever is written."""

import asyncio
import itertools
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from app import keys
from app.feed import kept as feed_kept
from app.feed import search as feed_search
from app.read_path import resident
from app.resident import loading
from app.settings import Settings
from tests.conftest import running_service

AGENT = "asker"
Vectors = Callable[[int], list[float]]


@pytest.fixture
async def plain(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A service on the same Redis that keeps no copies and caches nothing."""
    without = settings.model_copy(update={"resident_max_bytes": 0, "cache_enabled": False})
    async with running_service(without) as client:
        yield client


@pytest.fixture
async def copying(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """A service that copies a memory at its second question."""
    monkeypatch.setattr(feed_search, "ASKS", 2)
    monkeypatch.setattr(feed_search, "TRUSTED_S", 0.5)
    monkeypatch.setattr(feed_search, "COMPARED_AGAIN_S", 0.2)
    without_cache = settings.model_copy(update={"cache_enabled": False})
    async with running_service(without_cache) as client:
        yield client


def memory(name: str, vector: list[float], **more: object) -> dict[str, Any]:
    found = {"agent_id": AGENT, "id": name, "product_id": "p", "regime": "r", "action": "buy"}
    return {**found, "state_vector": vector, "reward": 1.0, **more}


async def search(client: httpx.AsyncClient, vector: list[float], **asked: object) -> dict[str, Any]:
    body = {"agent_id": AGENT, "state_vector": vector, **asked}
    answer = await client.post("/v1/episodic/search", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def stored(client: httpx.AsyncClient, vector: Vectors, count: int) -> None:
    some = [memory(f"m{i}", vector(i)) for i in range(count)]
    answer = await client.post("/v1/episodic/batch", json={"memories": some})
    assert answer.json()["failed"] == 0


async def until_copied(client: httpx.AsyncClient, vector: list[float]) -> None:
    async with asyncio.timeout(60):
        while (await search(client, vector))["served_by"] != resident.SERVED_BY:
            await asyncio.sleep(0.01)


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    if left["exact"] is not True or left["partial"]:
        return False
    pairs = list(zip(left["memories"], right["memories"], strict=False))
    return len(left["memories"]) == len(right["memories"]) and all(
        one.pop("distance") == pytest.approx(other.pop("distance"), abs=1e-6) and one == other
        for one, other in pairs
    )


async def test_a_copy_answers_what_redis_would(
    copying: httpx.AsyncClient, plain: httpx.AsyncClient, vector: Vectors
) -> None:
    await stored(plain, vector, 60)
    await until_copied(copying, vector(0))
    life, names, answered = random.Random(3), [f"m{i}" for i in range(60)], 0
    for number in range(60):
        name, writer = life.choice(names), life.choice([copying, plain])
        path = f"/v1/episodic/{AGENT}/{name}"
        match number % 5:
            case 0:
                names.append(f"new{number}")
                await writer.post("/v1/episodic", json=memory(names[-1], vector(number + 100)))
            case 1:
                await writer.post(f"{path}/outcome", json={"reward": life.uniform(-9, 9)})
            case 2:
                await writer.patch(path, json={"priority": life.uniform(0, 50)})
            case 3:
                await writer.delete(path)
            case _:
                some = [memory(f"b{number}-{i}", vector(200 + number + i)) for i in range(3)]
                await writer.post("/v1/episodic/batch", json={"memories": some})
        asked = {"top_k": life.choice([1, 5, 40]), "max_distance": life.choice([None, 0.9])}
        async with asyncio.timeout(60):  # another process's write is heard of soon
            while True:
                found = await search(copying, vector(number), **asked)
                expected = await search(plain, vector(number), **asked)
                if same(found, expected):
                    break
                assert writer is plain, "its own write is found at once"
                await asyncio.sleep(0.01)
        for _ in range(4):
            answered += (await search(copying, vector(1)))["served_by"] == resident.SERVED_BY
            await asyncio.sleep(0.002)
    assert answered > 50, "many searches were answered from the copy"


@pytest.mark.parametrize(
    "asked",
    [
        {"regime": "r"},
        {"as_of": 4e9},
        {"scope": "all"},
        {"consistency": "strong"},
        {"explain": True},
        {"include_vectors": True},
    ],
)
async def test_other_questions_go_to_redis(
    copying: httpx.AsyncClient, vector: Vectors, asked: dict[str, object]
) -> None:
    await stored(copying, vector, 5)
    await until_copied(copying, vector(0))
    assert (await search(copying, vector(0), **asked))["served_by"] != resident.SERVED_BY


@pytest.mark.parametrize("is_written_to", [False, True])
async def test_a_write_by_hand_is_noticed(
    copying: httpx.AsyncClient, vector: Vectors, redis: Redis, *, is_written_to: bool
) -> None:
    await stored(copying, vector, 5)
    await until_copied(copying, vector(0))
    await redis.delete(keys.episodic_memory(AGENT, "m1"))
    async with asyncio.timeout(60):
        for number in itertools.count():
            if is_written_to:
                await copying.post("/v1/episodic", json=memory(f"new{number}", vector(9)))
                await until_copied(copying, vector(0))
            found = await search(copying, vector(1))
            if "m1" not in [one["id"] for one in found["memories"]]:
                break
            await asyncio.sleep(0.05)


async def test_a_copy_in_use_goes_on_answering_while_it_is_compared(
    copying: httpx.AsyncClient, vector: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_search, "TRUSTED_S", trusted_s := 2.0)
    await stored(copying, vector, 5)
    await until_copied(copying, vector(0))
    until_s = time.monotonic() + trusted_s + 0.5
    while time.monotonic() < until_s:
        assert (await search(copying, vector(0)))["served_by"] == resident.SERVED_BY
        await asyncio.sleep(0.02)


async def test_a_lone_copy_that_grows_too_large_is_dropped(
    settings: Settings, vector: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_search, "ASKS", 2)
    monkeypatch.setattr(feed_kept, "BOUND_EVERY_S", 0.0)
    small = settings.model_copy(update={"resident_max_bytes": 40_000, "cache_enabled": False})
    async with running_service(small) as client:
        await stored(client, vector, 5)
        await until_copied(client, vector(0))
        some = [memory(f"b{i}", vector(i), metadata={"note": "x" * 1000}) for i in range(60)]
        answer = await client.post("/v1/episodic/batch", json={"memories": some})
        assert answer.json()["failed"] == 0
        for _ in range(20):
            assert (await search(client, vector(0)))["served_by"] != resident.SERVED_BY
            await asyncio.sleep(0.01)


async def test_a_search_that_cannot_be_compiled_is_not_tried_with_each_question(
    copying: httpx.AsyncClient, vector: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def fail(name: str) -> None:
        tried.append(name)
        raise ImportError(name)

    monkeypatch.setattr(feed_search, "load_compiled", fail)
    await stored(copying, vector, 5)
    for _ in range(20):
        assert (await search(copying, vector(0)))["served_by"] != resident.SERVED_BY
        await asyncio.sleep(0.005)
    assert len(tried) == 1


def test_what_is_compiled_is_compiled_by_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever this one is: its folder is not the project's here."""
    name, ended = "app.memory.estimates.compiled", []

    def run(command: list[str], **options: Any) -> None:
        ended.append(subprocess.Popen(command, cwd=options["cwd"]).wait())

    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(subprocess, "run", run)
    assert loading.load_compiled(name).chosen_and_summed
    assert ended == [0]
    loading.load_compiled(name)
    assert ended == [0], "it is there"


async def test_a_large_copy_is_searched_in_a_thread(
    copying: httpx.AsyncClient,
    plain: httpx.AsyncClient,
    vector: Vectors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resident, "AT_ONCE", 0)
    await stored(copying, vector, 20)
    await until_copied(copying, vector(0))
    found = await asyncio.gather(*(search(copying, vector(i)) for i in range(20)))
    for i, one in enumerate(found):
        assert same(one, await search(plain, vector(i)))

    async def store(number: int) -> None:
        await copying.post("/v1/episodic", json=memory(f"new{number}", vector(100 + number)))

    for number in range(30):
        await asyncio.gather(store(number), *(search(copying, vector(i)) for i in range(4)))
    await until_copied(copying, vector(0))
    for i in range(30):
        expected = await search(plain, vector(100 + i), top_k=50)
        assert same(await search(copying, vector(100 + i), top_k=50), expected)


async def estimate(client: httpx.AsyncClient, body: dict[str, object]) -> dict[str, Any]:
    found: dict[str, Any] = (await client.post("/v1/episodic/estimate", json=body)).json()
    return found


async def estimate_by_copy(client: httpx.AsyncClient, body: dict[str, object]) -> dict[str, Any]:
    """Ask until the copy answers: beside its own questions about the past, Redis may."""
    async with asyncio.timeout(60):
        while (found := await estimate(client, body))["served_by"] != resident.SERVED_BY:
            await asyncio.sleep(0.01)
    return found


async def test_estimates_are_made_from_a_copy(
    copying: httpx.AsyncClient, plain: httpx.AsyncClient, vector: Vectors
) -> None:
    some = [
        memory(f"m{i}", vector(i), timestamp=1e9 + i, outcome_at=1e9 + i + 40, reward=i % 7 - 3)
        for i in range(200)
    ]
    await plain.post("/v1/episodic/batch", json={"memories": some})
    await until_copied(copying, vector(0))
    for i in range(10):
        body = {"agent_id": AGENT, "state_vector": vector(1000 + i), "top_k": 10}
        told = [await estimate_by_copy(copying, body), await estimate(plain, body)]
        assert told[0].pop("served_by") == resident.SERVED_BY != told[1].pop("served_by")
        for one in told:
            del one["took_ms"], one["cached"]
        assert_alike(*told)


def assert_alike(one: Any, other: Any) -> None:
    """Compare answers; distances that were summed in another order differ a little."""
    match one:
        case dict():
            assert one.keys() == other.keys()
            for name, value in one.items():
                assert_alike(value, other[name])
        case list():
            for pair in zip(one, other, strict=True):
                assert_alike(*pair)
        case float():
            assert other == pytest.approx(one, rel=1e-5, abs=1e-5)
        case _:
            assert one == other
