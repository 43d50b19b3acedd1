"""Groups with replicas that share Sentinels: one fails over while an agent moves there."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import httpx
import pytest
from redis.asyncio import Redis

from app import keys
from app.commands.check import look
from app.commands.topology import topology
from app.moves import mover
from app.nodes.addresses import configured_addresses
from app.nodes.client import execute
from app.nodes.sentinel import master_url
from app.settings import Settings
from tests.conftest import DIMENSION, running_service
from tests.kit.group_set import group_set, settings_of

logger = logging.getLogger(__name__)

HOME, OTHER = "group-1", "group-2"
AGENTS = tuple(f"agent-{number}" for number in range(6))
OLD = 1000
"""Memories of the agent that moves: enough for a kill to come in the middle of the copy."""
WAIT_S = 90.0
REPLICATED = {"X-Durability": "replicated"}


@dataclass
class Running:
    """A service on two groups, and where its agents are."""

    api: httpx.AsyncClient
    settings: Settings
    group_of: dict[str, str]

    async def part(self, name: str) -> dict[str, Any]:
        parts: dict[str, Any] = (await self.api.get("/readyz")).json()["parts"]
        return dict(parts.get(name, {}))

    async def kill_master(self, group: str) -> str:
        """Kill a group's master. Return its address."""
        master = await self.part(f"{group}/master")
        os.kill(master["process_id"], signal.SIGKILL)
        return str(master["address"])

    async def until_replaced(self, group: str, old: str) -> None:
        """Wait until another node is the group's master, and all of its nodes are well again."""
        give_up_at = time.monotonic() + WAIT_S
        names = [f"{group}/{part}" for part in ("master", "replica-1", "replica-2")]
        while True:
            parts = [await self.part(name) for name in names]
            is_well = all(part.get("status") == "ok" for part in parts)
            if is_well and parts[0]["address"] != old:
                return
            assert time.monotonic() < give_up_at, parts
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        folder = tmp_path_factory.mktemp("groups")
        nodes = await stack.enter_async_context(group_set(folder, groups=2, replicas=2))
        # Replicas of a busy machine confirm late.
        settings = settings_of(nodes, durability_timeout_ms=20_000, redis_read_timeout_s=30)
        api = await stack.enter_async_context(running_service(settings))
        service = Running(api, settings, {})
        for agent in AGENTS:
            assert (await store(api, agent, "first")).status_code == 201
            asked = await search(api, agent)
            service.group_of[agent] = asked.json()["explain"]["group"]
        assert set(service.group_of.values()) == {HOME, OTHER}
        yield service


def memory(agent: str, name: str) -> dict[str, Any]:
    names = {"id": name, "agent_id": agent, "product_id": "p", "regime": "r", "timestamp": 1.0e9}
    return {**names, "state_vector": [1.0, *[float(crc32(name.encode()) % 97)] * (DIMENSION - 1)]}


async def store(api: httpx.AsyncClient, agent: str, name: str) -> httpx.Response:
    return await api.post("/v1/episodic", json=memory(agent, name), headers=REPLICATED)


async def search(api: httpx.AsyncClient, agent: str) -> httpx.Response:
    body = {"agent_id": agent, "state_vector": [1.0] * DIMENSION, "explain": True}
    return await api.post("/v1/episodic/search", json=body)


async def ids_of(api: httpx.AsyncClient, agent: str) -> list[str]:
    """All of an agent's memories, page by page."""
    found: list[str] = []
    cursor = None
    while True:
        body = {"agent_id": agent, "limit": 1000, "cursor": cursor}
        page = (await api.post("/v1/episodic/query", json=body)).json()
        found += [memory["id"] for memory in page["memories"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


@dataclass
class Worker:
    """Stores and searches for one agent; a refused store is sent again."""

    agent: str
    confirmed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    longest_s: float = 0.0

    async def work(self, api: httpx.AsyncClient, stop: asyncio.Event) -> None:
        answered_s = time.monotonic()
        number = 0
        while not stop.is_set():
            name = f"new-{number}"
            for answer in (await store(api, self.agent, name), await search(api, self.agent)):
                if answer.is_success:
                    now_s = time.monotonic()
                    self.longest_s = max(self.longest_s, now_s - answered_s)
                    answered_s = now_s
                else:
                    self.refused.append(answer.text)
                if answer.status_code in {200, 201} and "created" in answer.json():
                    self.confirmed.append(name)
                    number += 1
            await asyncio.sleep(0.02)


@asynccontextmanager
async def working(api: httpx.AsyncClient) -> AsyncIterator[dict[str, Worker]]:
    """All agents at work; those of the block's end are done."""
    workers, stop = {agent: Worker(agent) for agent in AGENTS}, asyncio.Event()
    tasks = [asyncio.create_task(worker.work(api, stop)) for worker in workers.values()]
    try:
        yield workers
        await asyncio.sleep(0.3)
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def copies_of(settings: Settings, agent: str) -> dict[str, int]:
    """How many memories of this agent each group's master has."""
    found = {}
    addresses = configured_addresses(settings)
    assert addresses is not None
    for group in addresses.groups:
        async with Redis.from_url(await master_url(group.addresses, settings)) as redis:
            pattern = f"{keys.episodic_prefix(agent)}*"
            found[group.name] = len([key async for key in redis.scan_iter(pattern, count=1000)])
            if not found[group.name]:
                assert not await execute(redis, "SISMEMBER", keys.AGENTS, agent)
    return found


async def test_the_commands_tell_of_the_sentinels_of_each_group(running: Running) -> None:
    found = await look(running.settings, tries_engine=False)
    told = [f.sentence for f in found if f.part == "sentinel"]
    assert told == [f"{g}: 3 Sentinels agree on the master of {g}" for g in (HOME, OTHER)]
    lines = await topology(running.settings)
    named = [line.address.split()[0] for line in lines if line.role == "sentinel"]
    assert named == [HOME] * 3 + [OTHER] * 3


async def test_a_group_that_fails_over_while_an_agent_moves_there_loses_and_disturbs_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mover, "GRACE_S", 0.3)
    api = running.api
    moving = next(agent for agent in AGENTS if running.group_of[agent] == HOME)
    for start in range(0, OLD, 500):
        batch = [memory(moving, f"old-{number}") for number in range(start, start + 500)]
        stored = await api.post("/v1/episodic/batch", json={"memories": batch}, headers=REPLICATED)
        assert stored.json()["created"] == 500, stored.text

    async def move(to: str = OTHER) -> dict[str, Any]:
        answer = await api.post(f"/v1/agents/{moving}/move", json={"group": to})
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    async with working(api) as workers:
        give_up_at = time.monotonic() + WAIT_S
        while not 0.2 < (said := await move())["progress"] < 0.9:
            assert time.monotonic() < give_up_at
            if said["status"] == "done":  # sooner than it was looked at: once more
                while (await move(HOME))["status"] != "done":
                    assert time.monotonic() < give_up_at
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.002)
        old = await running.kill_master(OTHER)
        await running.until_replaced(OTHER, old)
        before = {agent: len(worker.confirmed) for agent, worker in workers.items()}
        give_up_at = time.monotonic() + WAIT_S
        while (said := await move())["status"] != "done":
            assert time.monotonic() < give_up_at, said
            await asyncio.sleep(0.1)
    rest = [w for a, w in workers.items() if running.group_of[a] == HOME and a != moving]
    hit = [w for a, w in workers.items() if running.group_of[a] == OTHER]
    for name, some in (("beside", rest), ("with", hit)):
        longest_s = max(worker.longest_s for worker in some)
        logger.info("%.2f s without an answer %s the dead master", longest_s, name)
    assert [worker.refused for worker in rest] == [[]] * len(rest)
    assert any(worker.refused for worker in hit), "the kill was not felt"
    assert all(len(worker.confirmed) > before[worker.agent] for worker in hit)
    for agent, worker in workers.items():
        found = await ids_of(api, agent)
        assert len(found) == len(set(found))
        assert set(worker.confirmed) <= set(found), agent
        if agent == moving:
            assert {f"old-{number}" for number in range(OLD)} <= set(found)
            copies = await copies_of(running.settings, moving)
            assert copies == {HOME: 0, OTHER: len(found)}
    assert (await search(api, moving)).json()["explain"]["group"] == OTHER
