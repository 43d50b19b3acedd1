"""Samples from kept tables are those that Redis would give, whatever is written in between."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pyarrow as pa
import pytest

from app.feed.replay import KeptReplays
from app.feed.stream import ChangeStreams
from app.memory.replay import FIRST_CAPACITY, ReplayTable
from app.settings import Settings
from tests.conftest import running_service

AGENT = "learner"


class Watched:
    """How often a sample came from a table."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.hits = 0
        current = KeptReplays.current

        async def counted(tables: KeptReplays, agent_id: str) -> ReplayTable | None:
            found = await current(tables, agent_id)
            self.hits += found is not None
            return found

        patch.setattr(KeptReplays, "current", counted)


@pytest.fixture
async def plain(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A service on the same Redis without tables."""
    without = settings.model_copy(update={"sample_tables_max_bytes": 0})
    async with running_service(without) as client:
        yield client


def memory(name: str, vector: list[float], reward: float | None, **more: object) -> dict[str, Any]:
    found = {"agent_id": AGENT, "id": name, "product_id": "p", "regime": "r", "action": "buy"}
    rewarded = {} if reward is None else {"reward": reward}
    return {**found, "state_vector": vector, **rewarded, **more}


async def draw(client: httpx.AsyncClient, **asked: object) -> dict[str, Any]:
    body = {"agent_id": AGENT, "size": 16, "seed": 5, "include_vectors": True, **asked}
    answer = await client.post("/v1/episodic/sample", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    del found["took_ms"]
    return found


async def filled(api: httpx.AsyncClient, vector: Callable[[int], list[float]], count: int) -> None:
    some = [
        memory(
            f"m{i}",
            vector(i),
            i / 7 - 3,
            **({"next_state_vector": vector(i + 1)} if i % 3 else {}),
        )
        for i in range(count)
    ]
    answer = await api.post("/v1/episodic/batch", json={"memories": some})
    assert answer.json()["failed"] == 0


async def until_kept(api: httpx.AsyncClient, watched: Watched) -> None:
    async with asyncio.timeout(60):
        while not watched.hits:
            await draw(api)
            await asyncio.sleep(0.01)


def names_of(found: dict[str, Any]) -> list[object]:
    return [(one["id"], one["reward"], one.get("priority")) for one in found["memories"]]


def same(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert left["population"] == right["population"]
    assert (left["next_cursor"] is None) == (right["next_cursor"] is None)
    for one, other in zip(left["memories"], right["memories"], strict=True):
        for name in ("probability", "weight"):
            assert one.pop(name) == pytest.approx(other.pop(name), rel=1e-9)
        assert one == other


async def test_a_table_gives_what_redis_would(
    api: httpx.AsyncClient,
    plain: httpx.AsyncClient,
    vector: Callable[[int], list[float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = Watched(monkeypatch)
    await filled(api, vector, 60)
    await until_kept(api, watched)
    life, names = random.Random(3), [f"m{i}" for i in range(60)]
    for number in range(40):
        name, writer = life.choice(names), life.choice([api, plain])
        path = f"/v1/episodic/{AGENT}/{name}"
        match number % 5:
            case 0:
                names.append(f"new{number}")
                stored = memory(names[-1], vector(number), life.choice([None, 2.5]))
                await writer.post("/v1/episodic", json=stored)
            case 1:
                await writer.post(f"{path}/outcome", json={"reward": life.uniform(-9, 9)})
            case 2:
                await writer.patch(path, json={"priority": life.uniform(0, 50)})
            case 3:
                await writer.delete(path)
            case _:
                wanted = [{"id": name, "priority": 1.5}, {"id": names[0], "priority": 0.0}]
                body = {"agent_id": AGENT, "priorities": wanted}
                await writer.post("/v1/episodic/priorities", json=body)
        for strategy in ("prioritized", "uniform", "fifo", "lifo"):
            asked = {"strategy": strategy, "seed": number, "alpha": 0.6 + (number % 2)}
            async with asyncio.timeout(60):  # another process's write is heard of soon
                while True:
                    found, expected = await draw(api, **asked), await draw(plain, **asked)
                    if names_of(found) == names_of(expected):
                        break
                    assert writer is plain, "its own write is drawn at once"
                    await asyncio.sleep(0.01)
            same(found, expected)
    assert watched.hits > 100, "most samples came from the table"


async def test_a_change_is_applied_before_the_next_draw(
    api: httpx.AsyncClient, vector: Callable[[int], list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, reads, read = Watched(monkeypatch), 0, ChangeStreams.read

    async def counted(streams: ChangeStreams, *asked: Any) -> Any:
        nonlocal reads
        reads += 1
        return await read(streams, *asked)

    monkeypatch.setattr(ChangeStreams, "read", counted)
    await filled(api, vector, 5)
    await until_kept(api, watched)
    await draw(api)
    before = reads
    await api.post("/v1/episodic", json=memory("first", vector(7), 1.0))
    async with asyncio.timeout(60):
        while reads == before:
            await asyncio.sleep(0.01)
    for name in ("second", "third"):
        await api.post("/v1/episodic", json=memory(name, vector(8), 1.0))
    await asyncio.sleep(0.05)
    assert reads == before + 1, "nobody has drawn since"
    drawn = {one["id"] for one in (await draw(api))["memories"]}
    assert {"first", "second", "third"} < drawn


async def test_a_page_goes_on_where_a_table_s_ended(
    api: httpx.AsyncClient, vector: Callable[[int], list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    await filled(api, vector, 50)
    await until_kept(api, watched)
    for strategy in ("prioritized", "fifo", "lifo"):
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while len(seen) < 50:
            page = await draw(api, strategy=strategy, size=20, **cursor)
            seen += [one["id"] for one in page["memories"]]
            cursor = {"cursor": page["next_cursor"]}
        assert sorted(seen) == sorted(f"m{i}" for i in range(50))
        if strategy != "prioritized":
            assert seen == [
                f"m{i}" for i in (range(50) if strategy == "fifo" else range(49, -1, -1))
            ]
        if strategy == "fifo":
            await api.post("/v1/episodic", json=memory("later", vector(9), 1.0))
            page = await draw(api, strategy=strategy, size=20, **cursor)
            assert [one["id"] for one in page["memories"]] == ["later"]
            await api.delete(f"/v1/episodic/{AGENT}/later")


async def test_columns_of_a_table_are_those_of_records(
    api: httpx.AsyncClient,
    plain: httpx.AsyncClient,
    vector: Callable[[int], list[float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = Watched(monkeypatch)
    await filled(api, vector, 30)
    more = memory("x", vector(1), 99.0, episode_id="e", step=3, metadata={"a": [1]}, quality=0.5)
    answer = await api.post("/v1/episodic", json={**more, "product_id": "q", "terminal": True})
    assert answer.status_code == 201, answer.text
    await until_kept(api, watched)
    tables = []
    for client in (api, plain):
        answer = await client.post(
            "/v1/episodic/sample",
            json={"agent_id": AGENT, "size": 31, "seed": 1, "include_vectors": True},
            headers={"Accept": "application/vnd.apache.arrow.stream"},
        )
        tables.append(pa.ipc.open_stream(answer.content).read_all())
    assert tables[0].schema.remove_metadata().equals(tables[1].schema.remove_metadata())
    left, right = (table.to_pylist() for table in tables)
    for one, other in zip(left, right, strict=True):
        for name in ("probability", "weight"):
            assert one.pop(name) == pytest.approx(other.pop(name), rel=1e-9)
    assert left == right
    assert watched.hits > 1


def test_a_table_grows_and_forgets() -> None:
    table = ReplayTable(2)
    count = FIRST_CAPACITY + 10
    for i in range(count):
        record = b'{"id":"%d","agent_id":"a","reward":%d}' % (i, i)
        table.put(i + 1, record, {"state_vector": bytes(8)})
    assert len(table) == count
    for i in range(count - 1):
        table.delete(str(i))
    table.put(
        1, b'{"id":"%d","agent_id":"a","reward":null}' % (count - 1), {"state_vector": bytes(8)}
    )
    assert len(table) == 0
    table.delete("nobody")


@pytest.mark.parametrize("strategy", ["uniform", "prioritized", "fifo"])
def test_nothing_is_drawn_from_an_emptied_table(strategy: str) -> None:
    def bits(seqs: Any) -> Any:
        return seqs

    drawn = ReplayTable(4).draw(bits, strategy=strategy, size=3, alpha=0.6, beta=0.4)
    assert len(drawn.rows) == len(drawn.weights) == 0
