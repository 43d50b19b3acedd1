"""Limits per key and per agent: counted over all processes, exact for what is stored."""

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from app.auth.limits import LEASE_S, RateLimiter
from app.errors import RateLimited, StorageUnavailable
from app.settings import Settings
from tests.auth.keyed_service import VECTOR, KeyedService, concept, keyed_service, memory, with_keys
from tests.conftest import running_service
from tests.kit.service_process import NO_TLS

SEARCH = {"agent_id": "one", "state_vector": VECTOR}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Window:
    """One second's requests, never more than granted."""

    def __init__(self, limit: int) -> None:
        self.left = limit
        self.asked: list[int] = []

    async def lease(self, subject: str, per_s: int, requests: int) -> bool:
        self.asked.append(requests)
        if requests > self.left:
            return False
        self.left -= requests
        return True


async def let_through(limiter: RateLimiter, requests: int, per_s: int) -> int:
    passed = 0
    for _ in range(requests):
        try:
            await limiter.take("key", "a", per_s)
        except RateLimited:
            continue
        passed += 1
    return passed


async def test_processes_share_a_limit_and_ask_seldom() -> None:
    clock, window = Clock(), Window(1600)
    limiters = [RateLimiter(clock), RateLimiter(clock)]
    for limiter in limiters:
        limiter.lease_from(window)
    passed = [await let_through(limiter, 1500, 1600) for limiter in limiters]
    assert 1500 <= sum(passed) <= 1600, "one chunk may be left over"
    assert len(window.asked) < 60
    assert max(window.asked) == 100


async def test_it_tells_how_many_are_left_of_a_second() -> None:
    clock, window = Clock(), Window(10_000)
    limiter = RateLimiter(clock)
    limiter.lease_from(window)
    assert [await limiter.take("key", "a", 10) for _ in range(4)] == [9, 8, 7, 6]
    assert await limiter.take("key", "b", 10) == 9
    clock.now = 1.25  # of the four three quarters count, as in the window that all share
    assert [await limiter.take("key", "a", 10) for _ in range(3)] == [6, 5, 4]
    clock.now = 1.5
    assert await limiter.take("key", "a", 10) == 4
    clock.now = 9.0
    assert [await limiter.take("key", "a", 2) for _ in range(3)] == [1, 0, 0]


async def test_a_lease_is_not_kept_for_later() -> None:
    clock, window = Clock(), Window(1000)
    limiter = RateLimiter(clock)
    limiter.lease_from(window)
    assert await let_through(limiter, 100, 1000) == 100
    leased, clock.now = 1000 - window.left, LEASE_S
    assert leased > 100
    assert await let_through(limiter, 1, 1000) == 1
    assert window.left < 1000 - leased


async def test_without_redis_requests_pass() -> None:
    class Away:
        async def lease(self, subject: str, per_s: int, requests: int) -> bool:
            raise StorageUnavailable(f"away: {subject} {per_s} {requests}")

    limiter = RateLimiter(Clock())
    limiter.lease_from(Away())
    assert await let_through(limiter, 10, 1) == 10


async def statuses(client: httpx.AsyncClient, requests: int, **body: object) -> list[int]:
    answers = await asyncio.gather(
        *(client.post("/v1/episodic/search", json=SEARCH | body) for _ in range(requests))
    )
    refused = [answer for answer in answers if answer.status_code == 429]
    for answer in refused:
        assert answer.json()["code"] == "rate_limited"
        assert answer.json()["retryable"] is True
        assert answer.headers["retry-after"] == "1"
        assert ";q=" in answer.headers["ratelimit-policy"]
        assert ";r=0;t=1" in answer.headers["ratelimit"]
    return [answer.status_code for answer in answers]


async def test_a_key_is_limited_over_two_services(settings: Settings, tmp_path: Path) -> None:
    configured = with_keys(settings, tmp_path)
    async with keyed_service(configured) as first, keyed_service(configured) as second:
        busy = await first.caller("read", ["one"], limits={"requests_per_s": 5})
        calm = await second.caller("read", ["one"])
        there = httpx.AsyncClient(
            base_url=second.anonymous.base_url, headers=busy.headers, timeout=60, verify=NO_TLS
        )
        async with there:
            each = await asyncio.gather(statuses(busy, 60), statuses(there, 60))
        found = [*each[0], *each[1]]
        assert found.count(200) + found.count(429) == 120
        # A machine that takes seconds for these lets more windows through.
        assert found.count(429) > 0
        assert await statuses(calm, 30) == [200] * 30


async def test_every_answer_to_a_limited_key_says_how_it_stands(service: KeyedService) -> None:
    limited = await service.caller("write", ["one"], limits={"requests_per_s": 1000})
    asked: list[tuple[str, str, Any, int]] = [
        ("POST", "/v1/episodic/search", SEARCH, 200),
        ("POST", "/v1/episodic", memory("one", "a"), 201),
        ("GET", "/v1/episodic/one/none", None, 404),
        ("POST", "/v1/episodic/search", {}, 422),
        ("POST", "/v1/episodic/search", SEARCH | {"agent_id": "two"}, 403),
    ]
    for method, path, body, status in asked:
        answer = await limited.request(method, path, json=body)
        assert answer.status_code == status
        assert answer.headers["ratelimit-policy"] == '"key";q=1000;w=1'
        assert re.fullmatch(r'"key";r=9\d\d;t=1', answer.headers["ratelimit"])
    free = await service.caller("read", ["one"])
    assert "ratelimit" not in (await free.post("/v1/episodic/search", json=SEARCH)).headers


async def test_an_agent_is_limited_whoever_asks(settings: Settings) -> None:
    limited = settings.model_copy(update={"limit_agent_requests_per_s": 10})
    async with running_service(limited) as api:
        assert (await statuses(api, 60)).count(429) > 0
        assert await statuses(api, 5, agent_id="two") == [200] * 5
        assert (await api.get("/livez")).status_code == 200


async def counted(redis: Redis, agent: str = "one") -> tuple[int, int]:
    found = await redis.hmget(f"episodic_partition:{{{agent}}}", ["memories", "bytes"])
    return int(found[0] or 0), int(found[1] or 0)


async def true_size(redis: Redis, agent: str = "one") -> tuple[int, int]:
    keys = [key async for key in redis.scan_iter(f"episodic:{{{agent}}}:*")]
    size = 0
    for key in keys:
        fields = await redis.hmget(key, ["record", "state_vector", "next_state_vector"])
        size += sum(len(field) for field in fields if field is not None)
    return len(keys), size


@pytest.mark.parametrize("layout", ["per_agent", "shared"])
async def test_what_is_counted_is_what_is_there(
    settings: Settings, redis: Redis, layout: Any
) -> None:
    async with running_service(settings.model_copy(update={"layout": layout})) as api:
        batch = [
            memory("one", f"m{i}", timestamp=float(i), next_state_vector=VECTOR if i % 2 else None)
            for i in range(50)
        ]
        await api.post("/v1/episodic/batch", json={"memories": [*batch, batch[0]]})
        await api.post("/v1/episodic", json=memory("one", "open", timestamp=1e9))
        assert await counted(redis) == await true_size(redis)
        assert (await counted(redis))[0] == 51
        for _ in range(2):
            closed = {"reward": 0.123456789, "outcome_at": 2e9}
            await api.post("/v1/episodic/one/open/outcome", json=closed)
        await api.delete("/v1/episodic/one/m1")
        await api.delete("/v1/episodic/one/m1")
        assert await counted(redis) == await true_size(redis)
        query = {"agent_id": "one", "until": 10.0, "dry_run": False}
        await api.post("/v1/episodic/delete", json=query)
        assert await counted(redis) == await true_size(redis)
        assert (await counted(redis))[0] == 40
        await api.post("/v1/retention", json={"agent_id": "one", "dry_run": False})
        assert await counted(redis) == await true_size(redis)
        await api.post("/v1/semantic", json=concept("c"))
        await api.patch("/v1/semantic/c", json={"metadata": {"more": "x" * 50}})
        rules = {"keep_sharpe_ratio_above": 9, "keep_access_count_above": 9}
        pruned = await api.post("/v1/retention", json={"dry_run": False, "semantic": rules})
        assert pruned.json()["semantic"]["deleted"] == 1
    partition = await redis.hgetall("semantic_partition:{semantic_memory_idx}")
    assert (partition[b"memories"], partition[b"bytes"]) == (b"0", b"0")


async def test_a_full_agent_is_told_and_others_go_on(settings: Settings) -> None:
    limited = settings.model_copy(update={"limit_agent_memories": 3})
    async with running_service(limited) as api:
        batch = {"memories": [memory(agent, f"m{i}") for i in range(5) for agent in ("one", "two")]}
        answers = await asyncio.gather(
            *(api.post("/v1/episodic/batch", json=batch) for _ in range(4))
        )
        assert sum(answer.json()["created"] for answer in answers) == 6
        full = await api.post("/v1/episodic", json=memory("one", "more"))
        assert (full.status_code, full.json()["code"]) == (507, "quota_reached")
        assert (await api.post("/v1/episodic", json=memory("one", "m0"))).status_code == 200
        await api.delete("/v1/episodic/one/m0")
        assert (await api.post("/v1/episodic", json=memory("one", "more"))).status_code == 201


async def test_bytes_of_a_keys_agents_are_limited(service: KeyedService) -> None:
    one = await service.caller("write", ["one"], limits={"bytes": 1000})
    large = {"text": "x" * 400}
    assert (await one.post("/v1/episodic", json=memory("one", "a", metadata=large))).is_success
    full = await one.post("/v1/episodic", json=memory("one", "b", metadata=large))
    assert full.json()["code"] == "quota_reached"
    assert (await one.post("/v1/episodic", json=memory("one", "c"))).status_code == 201


async def test_a_caller_works_on_so_many_at_once(
    service: KeyedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.memory.episodic import EpisodicOperations

    at_work = most = 0
    search = EpisodicOperations.search

    async def counting(self: EpisodicOperations, request: Any) -> Any:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        try:
            await asyncio.sleep(0.02)
            return await search(self, request)
        finally:
            at_work -= 1

    monkeypatch.setattr(EpisodicOperations, "search", counting)
    few = await service.caller("read", ["one"], limits={"concurrency": 2})
    assert await statuses(few, 20) == [200] * 20
    assert most == 2
    many = await service.caller("read", ["one"])
    assert await statuses(many, 20) == [200] * 20
    assert most > 2
