"""Agents that move between groups while they work: everything goes along, nothing is lost."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest
from redis.asyncio import Redis

from app import keys
from app.connect import indexes_for
from app.decisions.ledger import DecisionLedger
from app.embedded import EmbeddedNode, EmbeddedTopology
from app.errors import StorageFailed
from app.memory.distances.store import DistanceStore
from app.moves import copying, guarded_part, mover
from app.moves.copying import AgentCopy
from app.moves.guarded_part import AttemptEnded, GuardedPart
from app.moves.ledger import Copied, Move, MoveLedger
from app.moves.mover import AgentMover
from app.nodes.client import execute
from app.nodes.commands import Script, ask_all
from app.nodes.connect import connect
from app.nodes.groups.placement import GroupShards
from app.nodes.job_lock import JobLock
from app.nodes.reads import ReadRouter
from app.settings import Settings
from app.storage.memories import MemoryStore
from tests.conftest import DIMENSION, running_service
from tests.failures.test_groups import children
from tests.kit.group_set import group_set, settings_of
from tests.kit.storage_parts import NoGuards

BEGAN_AT = time.time() - 3600
GROUPS = ("group-1", "group-2", "group-3")


@pytest.fixture(scope="module")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedTopology]:
    """Three groups."""
    async with group_set(tmp_path_factory.mktemp("groups")) as started:
        yield started


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The former copy is removed at once: the tests' processes hear of a move in milliseconds."""
    monkeypatch.setattr(mover, "GRACE_S", 0.3)


def memory(agent: str, number: int, vector: Callable[[int], list[float]]) -> dict[str, Any]:
    return {
        "id": f"m{number}",
        "agent_id": agent,
        "product_id": "p",
        "regime": "bull",
        "action": "buy",
        "reward": None if number % 3 == 0 else number / 10,
        "timestamp": BEGAN_AT + number,
        "state_vector": vector(number),
        "metadata": {"number": number},
    }


async def moved(api: httpx.AsyncClient, agent: str, group: str) -> dict[str, Any]:
    """The move's last state, when it has ended."""
    give_up_at = time.monotonic() + 90
    while True:
        answer = await api.post(f"/v1/agents/{agent}/move", json={"group": group})
        assert answer.status_code == 202, answer.text
        said: dict[str, Any] = answer.json()
        if said["status"] in {"done", "failed"}:
            return said
        assert time.monotonic() < give_up_at, said
        await asyncio.sleep(0.05)


async def all_of(api: httpx.AsyncClient, agent: str) -> dict[str, Any]:
    """What the API tells of an agent: every record and the nearest of some questions."""
    records = []
    cursor = None
    while True:
        body = {"agent_id": agent, "sort_by": "timestamp", "order": "asc", "cursor": cursor}
        page = (await api.post("/v1/episodic/query", json=body)).json()
        records += page["memories"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    question = {"agent_id": agent, "state_vector": [1.0] * DIMENSION, "top_k": 20}
    search = (await api.post("/v1/episodic/search", json=question)).json()
    sample = {"agent_id": agent, "size": 10, "seed": 7}
    drawn = (await api.post("/v1/episodic/sample", json=sample)).json()
    return {"records": records, "nearest": search["memories"], "drawn": drawn["memories"]}


async def hashes(nodes: EmbeddedTopology, agent: str) -> dict[str, dict[bytes, Any]]:
    """What each group's Redis holds of an agent: hashes by key."""
    found: dict[str, dict[bytes, Any]] = {}
    for name, group in nodes.groups.items():
        async with Redis.from_url(group.master.url, protocol=2) as redis:
            mine = [key async for key in redis.scan_iter(f"episodic*{{{agent}}}*")]
            kinds = [await execute(redis, "TYPE", key) for key in mine]
            found[name] = {
                key: await execute(redis, "HGETALL", key)
                for key, kind in zip(mine, kinds, strict=True)
                if kind == b"hash"
            }
    return {name: some for name, some in found.items() if some}


async def decision_expiries(nodes: EmbeddedTopology, agent: str) -> dict[bytes, int]:
    """When each of the agent's decisions expires, unix milliseconds."""
    found = {}
    for group in nodes.groups.values():
        async with Redis.from_url(group.master.url, protocol=2) as redis:
            for name in await execute(redis, "HKEYS", keys.decisions(agent)):
                words = ("HPEXPIRETIME", keys.decisions(agent), "FIELDS", 1, name)
                (found[name],) = await execute(redis, *words)
                assert found[name] > 0
    return found


EVEN = "a:even"
"""A distance of agent `a` that weighs all numbers alike."""


async def promote_even(nodes: EmbeddedTopology, agent: str, source: str) -> None:
    """Keep a distance that was learned from this agent's memories, and have the swarm go by it."""
    async with Redis.from_url(nodes.groups[source].master.url, protocol=2) as redis:
        born = await execute(redis, "HGET", keys.episodic_partition(agent), "born")
        record = {
            "id": EVEN,
            "agent_id": agent,
            "born": born.decode(),
            "created_at": BEGAN_AT,
            "known_at": BEGAN_AT,
            "scaled_weights": [0.5] * DIMENSION,
        }
        await execute(redis, "HSET", keys.episodic_distances(agent), EVEN, orjson.dumps(record))
    promotion = {"at": BEGAN_AT, "agent_id": agent, "distance": EVEN}
    async with Redis.from_url(nodes.master.url, protocol=2) as home:
        await execute(home, "RPUSH", keys.PROMOTIONS, orjson.dumps(promotion))


async def searched_by_promoted(api: httpx.AsyncClient, agent: str) -> str | None:
    """Search by the distance that the swarm goes by. Return which one that was."""
    question = {"agent_id": agent, "state_vector": [1.0] * DIMENSION, "metric": "promoted"}
    answer = await api.post("/v1/episodic/search", json=question)
    assert answer.status_code == 200, answer.text
    metric: str | None = answer.json()["metric"]
    return metric


async def test_everything_goes_along(
    nodes: EmbeddedTopology, vector: Callable[[int], list[float]]
) -> None:
    async with running_service(settings_of(nodes)) as api, running_service(settings_of(nodes)) as b:
        batch = [memory("a", number, vector) for number in range(250)]
        stored = await api.post("/v1/episodic/batch", json={"memories": batch})
        assert stored.json()["created"] == 250
        await api.post("/v1/episodic/a/m3/outcome", json={"reward": 0.5})
        await api.post(
            "/v1/episodic/priorities",
            json={"agent_id": "a", "priorities": [{"id": "m4", "priority": 9.0}]},
        )
        await api.patch("/v1/episodic/a/m5", json={"quality": 0.7})
        await api.delete("/v1/episodic/a/m6")
        old = memory("a", 400, vector) | {"timestamp": 1.0}
        assert (await api.post("/v1/episodic", json=old)).status_code == 201
        rules = {"agent_id": "a", "dry_run": False, "episodic_age_by": "timestamp"}
        pruned = await api.post("/v1/retention", json=rules)
        assert pruned.json()["episodic"]["deleted"] == 1, pruned.text
        for number in (1, 2):
            asked = {"agent_id": "a", "state_vector": vector(number), "recall": True}
            recall_id = (await api.post("/v1/episodic/search", json=asked)).json()["recall_id"]
            decided = await api.post(
                "/v1/decisions", json={"recall_id": recall_id, "action": "buy", "product_id": "p"}
            )
            assert decided.is_success, decided.text
        outcome = await api.post(f"/v1/decisions/{recall_id}/outcome", json={"reward": 0.5})
        assert outcome.is_success, outcome.text
        expiries = await decision_expiries(nodes, "a")
        assert len(expiries) == 2
        ((source, _),) = (await hashes(nodes, "a")).items()
        await promote_even(nodes, "a", source)
        assert await searched_by_promoted(b, "a") == EVEN
        before, in_redis = await all_of(b, "a"), await hashes(nodes, "a")
        ((source, kept),) = in_redis.items()
        assert len(before["records"]) == 249
        position = (await b.get("/v1/episodic/a/changes")).json()["next"]
        nothing = (await b.get("/v1/episodic/nobody/changes")).json()["next"]
        target = next(name for name in GROUPS if name != source)
        said = await moved(api, "a", target)
        assert (said["status"], said["from_group"], said["to_group"]) == ("done", source, target)
        assert await hashes(nodes, "a") == {target: kept}
        assert len([key for key in kept if key.startswith(b"episodic_retired:")]) == 1
        beside = (keys.decisions("a"), keys.uplift("a"), keys.episodic_distances("a"))
        assert {key.encode() for key in beside} <= kept.keys()
        assert await decision_expiries(nodes, "a") == expiries
        for one in (api, b):
            assert await all_of(one, "a") == before
            assert await searched_by_promoted(one, "a") == EVEN
            lost = await one.get("/v1/episodic/a/changes", params={"after": position})
            assert (lost.status_code, lost.json()["code"]) == (410, "position_lost")
        assert nothing.split(".")[2] == "0-0"
        again = await b.post("/v1/episodic", json=memory("a", 1, vector))
        assert again.status_code == 200, again.text
        new = await b.post("/v1/episodic", json=memory("a", 300, vector))
        assert new.status_code == 201, new.text
        assert (await api.get("/v1/episodic/a/m300")).status_code == 200
        listed = (await b.get("/v1/agents")).json()["agents"]
        assert [(one["agent_id"], one["memories"]) for one in listed if one["agent_id"] == "a"] == [
            ("a", 250)
        ]
        back = await moved(b, "a", source)
        assert back["status"] == "done"
        assert len((await all_of(b, "a"))["records"]) == 250
        assert set(await hashes(nodes, "a")) == {source}
        assert await searched_by_promoted(api, "a") == EVEN


async def test_writes_go_on_while_an_agent_moves(
    nodes: EmbeddedTopology, vector: Callable[[int], list[float]]
) -> None:
    """Two services write, close and delete while the agent goes round all groups."""
    async with running_service(settings_of(nodes)) as api, running_service(settings_of(nodes)) as b:
        first = [memory("w", number, vector) for number in range(200)]
        await api.post("/v1/episodic/batch", json={"memories": first})
        expected: dict[str, float | None] = {m["id"]: m["reward"] for m in first}
        is_over = asyncio.Event()

        async def write(one: httpx.AsyncClient, start: int) -> int:
            number = start
            while not is_over.is_set():
                body = memory("w", number, vector)
                answer = await one.post("/v1/episodic", json=body)
                assert answer.status_code == 201, answer.text
                expected[body["id"]] = body["reward"]
                if body["reward"] is None:
                    closed = await one.post(
                        f"/v1/episodic/w/{body['id']}/outcome", json={"reward": 7.0}
                    )
                    assert closed.status_code == 200, closed.text
                    expected[body["id"]] = 7.0
                if number % 5 == 1:
                    gone = await one.delete(f"/v1/episodic/w/{body['id']}")
                    assert gone.status_code == 204, gone.text
                    del expected[body["id"]]
                found = await one.get(f"/v1/episodic/w/m{(number - start) % 200}")
                assert found.status_code == 200, found.text
                number += 1
                await asyncio.sleep(0.002)
            return number - start

        async def go_round() -> None:
            for group in (*GROUPS, *GROUPS):
                await moved(api, "w", group)
            is_over.set()

        try:
            async with asyncio.timeout(200):
                written = [
                    asyncio.create_task(write(api, 1000)),
                    asyncio.create_task(write(b, 200_000)),
                ]
                round_trip = asyncio.create_task(go_round())
                await asyncio.gather(*written, round_trip)
        finally:
            is_over.set()
        records = (await all_of(b, "w"))["records"]
        assert {r["id"]: r["reward"] for r in records} == expected
        assert len(records) == len(expected)
        assert len(await hashes(nodes, "w")) == 1


async def noted(nodes: EmbeddedTopology, agent: str) -> Move:
    """The agent's move as the home has it."""
    async with Redis.from_url(nodes.master.url, protocol=2) as home:
        return Move.read(await execute(home, "HGET", keys.MOVES, agent))


async def test_a_copy_goes_on_where_it_was_when_its_target_was_killed(
    nodes: EmbeddedTopology,
    vector: Callable[[int], list[float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(copying, "PAGE", 10)
    monkeypatch.setattr(copying, "PAUSE_FACTOR", 10.0)
    begun, prepare = [], AgentCopy.prepare

    async def counted(copy: AgentCopy) -> Copied:
        begun.append(copy)
        return await prepare(copy)

    monkeypatch.setattr(AgentCopy, "prepare", counted)
    async with running_service(settings_of(nodes)) as api:
        batch = [memory("g", number, vector) for number in range(200)]
        await api.post("/v1/episodic/batch", json={"memories": batch})
        before = await all_of(api, "g")
        ((source, kept),) = (await hashes(nodes, "g")).items()
        target = next(name for name in GROUPS[1:] if name != source)  # the first is the home
        asked = await api.post("/v1/agents/g/move", json={"group": target})
        assert asked.status_code == 202, asked.text
        async with asyncio.timeout(30):
            while (copied := (await noted(nodes, "g")).copied) is None or copied.memories < 100:
                await asyncio.sleep(0.002)
        os.kill(children(nodes.groups[target].master.process.pid)[0], signal.SIGKILL)
        async with asyncio.timeout(30):
            while (await noted(nodes, "g")).detail is None:
                await asyncio.sleep(0.01)
        stopped = (await noted(nodes, "g")).copied
        assert stopped is not None
        assert 100 <= stopped.memories < 200
        assert (await moved(api, "g", target))["status"] == "done"
        assert len(begun) == 1
        assert await hashes(nodes, "g") == {target: kept}
        assert await all_of(api, "g") == before


@asynccontextmanager
async def full(node: EmbeddedNode) -> AsyncIterator[None]:
    """While the context is open, the node is beyond its memory limit."""
    async with Redis.from_url(node.url, protocol=2) as redis:
        _, limit = await execute(redis, "CONFIG", "GET", "maxmemory")
        await execute(redis, "CONFIG", "SET", "maxmemory", "1mb")
        try:
            yield
        finally:
            await execute(redis, "CONFIG", "SET", "maxmemory", limit)


async def test_an_agent_moves_away_from_a_full_group(
    nodes: EmbeddedTopology, vector: Callable[[int], list[float]]
) -> None:
    """The home, which has what the mover notes, is full, too."""
    async with running_service(settings_of(nodes)) as api:
        batch = [memory("f", number, vector) for number in range(20)]
        await api.post("/v1/episodic/batch", json={"memories": batch})
        before = await all_of(api, "f")
        ((source, kept),) = (await hashes(nodes, "f")).items()
        target = next(name for name in GROUPS[1:] if name != source)
        async with full(nodes.groups[source].master), full(nodes.groups["group-1"].master):
            refused = await api.post("/v1/episodic", json=memory("f", 30, vector))
            assert refused.status_code == 507, refused.text
            async with running_service(settings_of(nodes)) as late:
                new = [memory(f"new-{number}", 1, vector) for number in range(9)]
                tried = [await late.post("/v1/episodic", json=body) for body in new]
                assert [answer.status_code for answer in tried] == [201] * 9, "one group has room"
            assert (await hashes(nodes, "new-1")).keys() & {source, "group-1"} == set()
            assert (await moved(api, "f", target))["status"] == "done"
            assert await hashes(nodes, "f") == {target: kept}
            assert await all_of(api, "f") == before
        stored = await api.post("/v1/episodic", json=memory("f", 30, vector))
        assert stored.status_code == 201, stored.text


class Killed(BaseException):
    """Ends a mover where it is, as a kill would."""


class Killer:
    """Counts what a mover asks of Redis, and ends it before one of these."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left = -1
        for module in (copying, guarded_part):
            patch.setattr(module, "execute", self._counted(execute))
        for module in (copying, mover):
            patch.setattr(module, "ask_all", self._counted(ask_all))
        patch.setattr(Script, "run", self._counted(Script.run))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        async def counted(*arguments: Any) -> Any:
            if self.left == 0:
                raise Killed
            self.left -= 1
            return await call(*arguments)

        return counted


async def test_a_move_goes_on_after_a_kill_at_any_step(
    nodes: EmbeddedTopology,
    vector: Callable[[int], list[float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_service(settings_of(nodes)) as api:
        batch = [memory("k", number, vector) for number in range(4)]
        assert (await api.post("/v1/episodic/batch", json={"memories": batch})).json()[
            "created"
        ] == 4
        before = await all_of(api, "k")
        ((source, kept),) = (await hashes(nodes, "k")).items()
    monkeypatch.setattr(mover, "GRACE_S", 0.0)
    async with AsyncExitStack() as stack:
        settings = settings_of(nodes)
        shards = (await connect(settings, nodes.addresses, stack)).shards
        assert isinstance(shards, GroupShards)
        job_lock, ledger = JobLock(shards), MoveLedger(shards)
        indexes = indexes_for(settings, shards, "service")
        killer = Killer(monkeypatch)
        kills = 0
        target = next(name for name in GROUPS if name != source)
        while True:
            await ledger.want({"k": target}, 1.0)
            killer.left = kills
            try:
                await AgentMover(shards, indexes, ledger, job_lock).run_in_turn()
            except Killed:
                killer.left = -1
                await job_lock.release(mover.JOB)
                await AgentMover(shards, indexes, ledger, job_lock).run_in_turn()
                is_over = False
            else:
                is_over = True
            killer.left = -1
            assert await hashes(nodes, "k") == {target: kept}, kills
            assert shards.place_of("k") == target
            async with Redis.from_url(nodes.master.url, protocol=2) as home:
                assert await home.hget(keys.PLACEMENTS, "k") == target.encode()
            if is_over:
                break
            source, target = target, source
            kills += 1
    assert kills > 20
    async with running_service(settings_of(nodes)) as api:
        assert await all_of(api, "k") == before
        new = await api.post("/v1/episodic", json=memory("k", 9, vector))
        assert new.status_code == 201, new.text


async def test_a_move_that_is_given_up_leaves_nothing_behind_after_a_kill_at_any_step(
    nodes: EmbeddedTopology,
    vector: Callable[[int], list[float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def cannot_be(*_: object) -> None:
        raise StorageFailed("The copy never was the same.")

    monkeypatch.setattr(AgentMover, "_hand_over", cannot_be)
    async with running_service(settings_of(nodes)) as api:
        batch = [memory("u", number, vector) for number in range(2)]
        await api.post("/v1/episodic/batch", json={"memories": batch})
        ((source, kept),) = (await hashes(nodes, "u")).items()
    target = next(name for name in GROUPS if name != source)
    async with AsyncExitStack() as stack:
        shards = (await connect(settings_of(nodes), nodes.addresses, stack)).shards
        assert isinstance(shards, GroupShards)
        job_lock, ledger = JobLock(shards), MoveLedger(shards)
        indexes = indexes_for(settings_of(nodes), shards, "service")
        killer = Killer(monkeypatch)
        is_killed, kills = True, 0
        while is_killed:
            await ledger.want({"u": target}, float(kills))
            killer.left, is_killed = kills, False
            try:
                await AgentMover(shards, indexes, ledger, job_lock).run_in_turn()
            except Killed:
                is_killed, killer.left = True, -1
                await job_lock.release(mover.JOB)
                await AgentMover(shards, indexes, ledger, job_lock).run_in_turn()
            killer.left = -1
            ended = await ledger.of("u")
            assert ended is not None, kills
            assert (ended.status, ended.detail) == ("failed", "The copy never was the same."), kills
            assert await hashes(nodes, "u") == {source: kept}, kills
            for name, held in ((source, b"here"), (target, None)):
                node = shards.group(name).master.client
                assert await execute(node, "HGET", keys.MOVING, "u") == held, (name, kills)
                words = ("SISMEMBER", keys.AGENTS, "u")
                assert await execute(node, *words) == (name == source), kills
            kills += 1
        assert kills > 25
    async with running_service(settings_of(nodes)) as api:
        assert (await api.post("/v1/episodic", json=memory("u", 9, vector))).status_code == 201


async def test_what_stands_beside_memories_is_held_back_too(nodes: EmbeddedTopology) -> None:
    """Decisions and distances are not removed in a move's last step, which has copied them."""
    async with running_service(settings_of(nodes)), AsyncExitStack() as stack:
        shards = (await connect(settings_of(nodes), nodes.addresses, stack)).shards
        await shards.place(["h"])
        node = (await shards.locate(keys.decisions("h"))).master.client
        kept = (keys.decisions("h"), keys.uplift("h"), keys.episodic_distances("h"))
        for key in kept:
            await execute(node, "HSET", key, "d", "x")
        await execute(node, "HSET", keys.MOVING, "h", f"leaving x {10**15}")
        reads = ReadRouter(shards, NoGuards())
        store = MemoryStore(shards, reads, guards=NoGuards(), invalidate=lambda _: None)
        ledger = DecisionLedger(shards, store, now=time.time, open_s=1.0, max_open=1)
        distances = DistanceStore(reads)
        asked = [
            asyncio.create_task(ledger.forget("h")),
            asyncio.create_task(distances.delete("h", "d")),
        ]
        done, _ = await asyncio.wait(asked, timeout=0.2)
        assert not done
        assert await Script("forget_agents").run(node, [keys.episodic_partition("h")], ()) == 0
        assert await execute(node, "EXISTS", *kept) == 3
        await execute(node, "HDEL", keys.MOVING, "h")
        assert await asyncio.gather(*asked) == [None, True]
        assert await execute(node, "EXISTS", *kept) == 0


async def test_an_attempt_that_another_one_ended_writes_nothing_more(
    nodes: EmbeddedTopology, vector: Callable[[int], list[float]]
) -> None:
    """A mover that was paused does not know that the agent is long there, and works on."""
    async with running_service(settings_of(nodes)) as api:
        batch = [memory("p", number, vector) for number in range(3)]
        await api.post("/v1/episodic/batch", json={"memories": batch})
        ((source, _),) = (await hashes(nodes, "p")).items()
        target = next(name for name in GROUPS if name != source)
        async with AsyncExitStack() as stack:
            settings = settings_of(nodes)
            shards = (await connect(settings, nodes.addresses, stack)).shards
            assert isinstance(shards, GroupShards)
            there = shards.group(target).master.client
            indexes = indexes_for(settings, shards, "service")
            part = await GuardedPart.arriving(there, "p", 1)
            paused = AgentCopy(shards.group(source).master.client, part, indexes)
            copied = await paused.prepare()
            assert (await moved(api, "p", target))["status"] == "done"
            now = await hashes(nodes, "p")
            assert not await shards.open(shards.group(source), "p")
            steps: list[Callable[[], Awaitable[object]]] = [
                *(paused.copy_counters, paused.prepare, paused.copy_all(copied).__anext__),
                paused.begin_feed,
            ]
            for step in steps:
                with pytest.raises((AttemptEnded, StopAsyncIteration)):
                    await step()
            assert await hashes(nodes, "p") == now
            await api.post("/v1/episodic/delete", json={"agent_id": "p", "dry_run": False})
            for _ in range(2):  # with memories, and emptied
                with pytest.raises(AttemptEnded):
                    await GuardedPart.arriving(there, "p", 1)
                stored = await api.post("/v1/episodic", json=memory("p", 9, vector))
                assert stored.status_code == 201, stored.text
                await api.delete("/v1/episodic/p/m9")


async def test_a_move_that_cannot_be_is_refused(
    nodes: EmbeddedTopology, settings: Settings
) -> None:
    async with running_service(settings_of(nodes)) as api:
        answer = await api.post("/v1/agents/x/move", json={"group": "nowhere"})
        assert (answer.status_code, answer.json()["field"]) == (422, "group")
        nobody = await api.post("/v1/agents/x/move", json={})
        assert (nobody.status_code, nobody.json()["code"]) == (404, "memory_not_found")
    async with running_service(settings) as alone:
        answer = await alone.post("/v1/agents/x/move", json={})
        assert (answer.status_code, answer.json()["field"]) == (422, "group")
