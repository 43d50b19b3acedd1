"""The change feed over HTTP: no change without its entry, each experience once, as it is."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pyarrow as pa
import pytest
from redis.asyncio import Redis

from app.nodes.groups.placement import EMPTIED_FEED_S
from app.settings import Settings
from tests.conftest import running_service

Vector = Callable[[int], list[float]]
URL = "/v1/episodic/a"


def memory(vector: Vector, name: str = "m", **more: object) -> dict[str, Any]:
    body = {"id": name, "agent_id": "a", "product_id": "p", "regime": "r", "timestamp": 1.0}
    return body | {"state_vector": vector(1)} | more


async def snapshot(api: httpx.AsyncClient, **asked: object) -> tuple[pa.Table, str, str]:
    """Rows, position and the cursor of the rest."""
    answer = await api.get(f"{URL}/snapshot", params={n: str(v) for n, v in asked.items()})
    assert answer.status_code == 200, answer.text
    with pa.ipc.open_stream(answer.content) as stream:
        position = stream.schema.metadata[b"position"].decode()
        batches = []
        while True:
            try:
                batch, custom = stream.read_next_batch_with_custom_metadata()
            except StopIteration:
                break
            batches.append(batch)
        return pa.Table.from_batches(batches), position, custom[b"cursor"].decode()


async def changes(api: httpx.AsyncClient, after: str, **asked: object) -> dict[str, Any]:
    params = {"after": after, **{n: str(v) for n, v in asked.items()}}
    answer = await api.get(f"{URL}/changes", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def named(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(change["op"], change["id"]) for change in found["changes"]]


async def test_every_kind_of_change_is_told(
    api: httpx.AsyncClient, redis: Redis, vector: Vector
) -> None:
    _, position, _ = await snapshot(api)

    async def told() -> dict[str, Any]:
        nonlocal position
        found = await changes(api, position)
        assert found["complete"]
        position = found["next"]
        return found

    await api.post("/v1/episodic", json=memory(vector))
    await api.post("/v1/episodic", json=memory(vector))  # again: nothing changes
    found = await told()
    assert named(found) == [("put", "m")]
    stored = (await api.get(f"{URL}/m")).json()
    assert found["changes"][0]["memory"] == stored
    assert named(await told()) == []

    await api.post(f"{URL}/m/outcome", json={"reward": 0.5, "outcome_at": 2.0})
    await api.patch(f"{URL}/m", json={"quality": 0.5, "priority": 2.0})
    found = await told()
    assert named(found) == [("put", "m")]
    assert (found["changes"][0]["memory"]["reward"], found["changes"][0]["memory"]["quality"]) == (
        0.5,
        0.5,
    )

    batch = {"memories": [memory(vector, f"b{i}", timestamp=float(i)) for i in range(40)]}
    await api.post("/v1/episodic/batch", json=batch)
    assert sorted(named(await told())) == sorted(("put", f"b{i}") for i in range(40))

    await api.delete(f"{URL}/b0")
    window = {"agent_id": "a", "since": 35, "dry_run": False}
    await api.post("/v1/episodic/delete", json=window)
    gone = [("delete", f"b{i}") for i in (0, 35, 36, 37, 38, 39)]
    assert sorted(named(await told())) == sorted(gone)

    rule = {"agent_id": "a", "episodic_max_age_days": 1, "episodic_age_by": "timestamp"}
    await api.post("/v1/retention", json=rule | {"dry_run": False})
    assert len(named(await told())) == 35
    # The agent's last memory retired; once it is erased, the feed still tells, and will expire.
    assert (await told())["retired_until"] > 1_700_000_000
    await api.post("/v1/episodic/delete", json={"agent_id": "a", "dry_run": False})
    assert 0 < await redis.ttl("episodic_changes:{a}") <= EMPTIED_FEED_S

    await api.post("/v1/episodic", json=memory(vector, "again"))
    assert named(await told()) == [("put", "again")]
    assert await redis.ttl("episodic_changes:{a}") == -1


async def test_a_feed_that_expired_with_the_last_memory_says_so(
    api: httpx.AsyncClient, redis: Redis, vector: Vector
) -> None:
    """A late reader takes the snapshot of nothing, and follows from there."""
    await api.post("/v1/episodic", json=memory(vector))
    _, position, _ = await snapshot(api)
    await api.delete(f"{URL}/m")
    assert named(await changes(api, position)) == [("delete", "m")]
    await redis.pexpire("episodic_changes:{a}", 1)
    while await redis.exists("episodic_changes:{a}"):
        await asyncio.sleep(0.01)
    late = await api.get(f"{URL}/changes", params={"after": position})
    assert (late.status_code, late.json()["code"]) == (410, "position_lost")
    rows, position, _ = await snapshot(api)
    assert rows.num_rows == 0
    assert named(await changes(api, position)) == []
    await api.post("/v1/episodic", json=memory(vector, "again"))
    assert named(await changes(api, position)) == [("put", "again")]


async def test_a_snapshot_in_pages_and_what_changed_meanwhile(
    api: httpx.AsyncClient, vector: Vector
) -> None:
    batch = {
        "memories": [
            memory(vector, f"m{i}", metadata={"n": i}, next_state_vector=vector(2))
            for i in range(30)
        ]
    }
    await api.post("/v1/episodic/batch", json=batch)
    first, position, cursor = await snapshot(api, limit=12)
    assert (first.num_rows, bool(cursor)) == (12, True)
    await api.delete(f"{URL}/m3")
    await api.post("/v1/episodic", json=memory(vector, "later"))
    rest, again, end = await snapshot(api, cursor=cursor)
    assert (again, end) == (position, "")
    whole = pa.concat_tables([first, rest])
    assert sorted(set(whole["id"].to_pylist()) - {"later"}) == sorted(f"m{i}" for i in range(30))
    assert whole["state_vector"][0].as_py() == pytest.approx(vector(1), abs=1e-6)
    assert whole["next_state_vector"][0].as_py() == pytest.approx(vector(2), abs=1e-6)
    assert orjson.loads(whole["metadata"][7].as_py()) == {"n": 7}
    assert sorted(named(await changes(api, position))) == [("delete", "m3"), ("put", "later")]


async def test_a_snapshot_as_plain_bytes(api: httpx.AsyncClient, vector: Vector) -> None:
    (await api.post("/v1/episodic", json=memory(vector))).raise_for_status()
    plain, arrow = "application/octet-stream", "application/vnd.apache.arrow.stream"
    for accept, given in ((plain, plain), (f"{arrow}, {plain}", arrow), ("*/*", arrow)):
        answer = await api.get(f"{URL}/snapshot", headers={"Accept": accept})
        assert answer.headers["content-type"] == given
        with pa.ipc.open_stream(answer.content) as stream:
            assert stream.read_all().num_rows == 1


async def test_pages_of_changes(api: httpx.AsyncClient, vector: Vector) -> None:
    _, position, _ = await snapshot(api)
    for i in range(7):
        await api.post("/v1/episodic", json=memory(vector, f"m{i}"))
    seen: list[str] = []
    while True:
        found = await changes(api, position, limit=3)
        seen += [change["id"] for change in found["changes"]]
        position = found["next"]
        if found["complete"]:
            break
        assert len(found["changes"]) == 3
    assert seen == [f"m{i}" for i in range(7)]


async def test_waiting_ends_with_a_change(api: httpx.AsyncClient, vector: Vector) -> None:
    _, position, _ = await snapshot(api)
    nothing = await changes(api, position, wait_s=0.05)
    assert (named(nothing), nothing["complete"]) == ([], True)
    assert nothing["waited_s"] >= 0.05
    waiting = asyncio.create_task(changes(api, position, wait_s=29))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await api.post("/v1/episodic", json=memory(vector))
    async with asyncio.timeout(25):
        assert named(await waiting) == [("put", "m")]


async def test_server_sent_events(api: httpx.AsyncClient, vector: Vector) -> None:
    headers = {"Accept": "text/event-stream"}
    async with api.stream("GET", f"{URL}/changes", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        events = []
        await anext(lines)  # the first event says that nothing is missing
        await api.post("/v1/episodic", json=memory(vector))
        async for line in lines:
            if line.startswith("data: ") and '"put"' in line:
                events.append(orjson.loads(line.removeprefix("data: ")))
                break
            if line.startswith("id: "):
                last_id = line.removeprefix("id: ")
    assert named(events[0]) == [("put", "m")]
    async with api.stream(
        "GET", f"{URL}/changes", headers=headers | {"Last-Event-ID": last_id}
    ) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                assert last_id != events[0]["next"] or '"changes":[]' in line
                break


async def test_a_trimmed_position_is_lost(settings: Settings, redis: Redis, vector: Vector) -> None:
    async with running_service(settings.model_copy(update={"feed_entries": 100})) as api:
        _, beginning, _ = await snapshot(api)
        for i in range(3):
            await api.post("/v1/episodic", json=memory(vector, f"m{i}"))
        _, position, _ = await snapshot(api)
        await redis.xtrim("episodic_changes:{a}", maxlen=3, approximate=False)
        assert named(await changes(api, position)) == []
        await api.post("/v1/episodic", json=memory(vector, "new"))
        await redis.xtrim("episodic_changes:{a}", maxlen=1, approximate=False)
        for lost in (beginning, position):
            answer = await api.get(f"{URL}/changes", params={"after": lost})
            assert (answer.status_code, answer.json()["code"]) == (410, "position_lost")
            assert answer.json()["retryable"] is False
        for _ in range(110):
            await api.patch(f"{URL}/new", json={"priority": 1.0})
            await api.patch(f"{URL}/new", json={"priority": 2.0})
        assert await redis.xlen("episodic_changes:{a}") <= 200


async def test_a_memory_older_than_its_feed(
    api: httpx.AsyncClient, redis: Redis, vector: Vector
) -> None:
    await api.post("/v1/episodic", json=memory(vector))
    await redis.delete("episodic_changes:{a}")
    rows, position, _ = await snapshot(api)
    assert rows["id"].to_pylist() == ["m"]
    assert named(await changes(api, position)) == []
    await api.delete(f"{URL}/m")
    assert named(await changes(api, position)) == [("delete", "m")]


@pytest.mark.parametrize("name", ["after", "cursor"])
async def test_what_is_no_position_is_refused(api: httpx.AsyncClient, name: str) -> None:
    path = "changes" if name == "after" else "snapshot"
    for wrong in ("", "x", "1~2", "9~1.00.0-0..", "1." + "0" * 40 + ".0-0..;"):
        answer = await api.get(f"{URL}/{path}", params={name: wrong})
        assert answer.status_code == 422, answer.text
        assert answer.json()["field"] == name
