"""`groups`: the list of groups is shown and changed, and agents are moved by a running service."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.commands.command_line import run
from app.commands.groups import carry_out
from app.embedded import EmbeddedTopology, embedded_redis
from app.errors import ConfigurationError, StorageFull
from app.moves import mover
from app.settings import Settings
from tests.conftest import DIMENSION, running_service
from tests.failures.test_groups import children
from tests.moves.test_moves import full, memory

AGENTS = tuple(f"agent-{number}" for number in range(6))


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[EmbeddedTopology]:
    """Three groups, of which the memory has two at first."""
    settings = Settings(data_dir=tmp_path, embedded_topology="groups")
    async with embedded_redis(settings) as started:
        yield started


async def groups(listed: str, action: str, group: str | None = None) -> str:
    """What the command prints, or why it refuses."""
    try:
        return await carry_out(action, group, Settings(groups=listed, dimension=DIMENSION))
    except (ConfigurationError, StorageFull) as error:
        return error.detail


async def places(api: httpx.AsyncClient) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for agent in AGENTS:
        body = {"agent_id": agent, "state_vector": [1.0] * DIMENSION, "explain": True}
        answer: dict[str, Any] = (await api.post("/v1/episodic/search", json=body)).json()
        assert answer["count"] == 2
        found.setdefault(answer["explain"]["group"], []).append(agent)
    return found


async def until_placed(api: httpx.AsyncClient, wanted: dict[str, int]) -> None:
    give_up_at = time.monotonic() + 90
    while {name: len(some) for name, some in (await places(api)).items()} != wanted:
        assert time.monotonic() < give_up_at, await places(api)
        await asyncio.sleep(0.2)


async def test_a_group_joins_takes_its_share_and_is_drained(
    nodes: EmbeddedTopology,
    vector: Callable[[int], list[float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mover, "GRACE_S", 0.1)
    urls = [f"{name}={group.master.url}" for name, group in nodes.groups.items()]
    two, three = ";".join(urls[:2]), ";".join(urls)
    async with running_service(Settings(groups=two, dimension=DIMENSION)) as api:
        for agent in AGENTS:
            batch = [memory(agent, number, vector) for number in (1, 2)]
            await api.post("/v1/episodic/batch", json={"memories": batch})
        assert set(await places(api)) == {"group-1", "group-2"}
    assert "not part of this memory" in await groups(three, "status")
    assert "Group group-3 is part of this memory" in await groups(three, "add", "group-3")
    async with running_service(Settings(groups=three, dimension=DIMENSION)) as api:
        assert (await groups(three, "rebalance")).startswith("2 moves asked for.")
        await until_placed(api, {"group-1": 2, "group-2": 2, "group-3": 2})
        assert "is the home" in await groups(three, "drain", "group-1")
        assert "no group x" in await groups(three, "drain", "x")
        assert (
            await groups(f"{two};group-3*0.01={three.split('=')[-1]}", "add", "group-3")
        ).startswith("Group group-3 is part")
        assert "weight 0.01" in await groups(three, "status")
        assert "weight 0.01" not in await groups(three, "add", "group-3")
        async with full(nodes.groups["group-1"].master):
            async with full(nodes.groups["group-3"].master):
                assert "No other group has room" in await groups(three, "drain", "group-2")
            told = await groups(three, "drain", "group-2")
            assert told.startswith("2 moves asked for.\nFull, so no agent moves there: group-1.")
            await until_placed(api, {"group-1": 2, "group-3": 4})
            assert (await groups(three, "rebalance")).startswith("0 moves asked for.\nFull")
        give_up_at = time.monotonic() + 60
        while "off the list" not in await groups(three, "drain", "group-2"):
            assert time.monotonic() < give_up_at
            await asyncio.sleep(0.1)
    rest = f"{urls[0]};{urls[2]}"
    shown = await groups(rest, "status")
    assert [line.split()[0] for line in shown.splitlines()] == ["group-1", "group-3"]
    async with running_service(Settings(groups=rest, dimension=DIMENSION)) as api:
        assert (await groups(rest, "rebalance")).startswith("1 move asked for.")
        await until_placed(api, {"group-1": 3, "group-3": 3})


@pytest.mark.parametrize(
    ("words", "what"),
    [(["add"], "needs the name"), (["status", "x"], "takes no name"), ([], "has one group")],
)
def test_a_name_is_given_where_it_is_needed(
    words: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["groups", *words]) == 1
    assert what in capsys.readouterr().err


async def test_a_group_that_lost_its_data_answers_nothing_until_it_is_taken_up_empty(
    nodes: EmbeddedTopology, tmp_path: Path, vector: Callable[[int], list[float]]
) -> None:
    listed = ";".join(f"{name}={group.master.url}" for name, group in nodes.groups.items())
    async with running_service(Settings(groups=listed, dimension=DIMENSION)) as api:
        for agent in AGENTS:
            batch = [memory(agent, number, vector) for number in (1, 2)]
            await api.post("/v1/episodic/batch", json={"memories": batch})
        found = await places(api)
        lost, kept = found["group-2"][0], found["group-3"][0]
        guard = nodes.groups["group-2"].master.process.pid
        os.kill(guard, signal.SIGSTOP)  # or it would start the server again at once
        try:
            (server,) = children(guard)[:1]
            os.kill(server, signal.SIGKILL)
            shutil.rmtree(next(tmp_path.glob("group-2/node-*/appendonlydir")))
        finally:
            os.kill(guard, signal.SIGCONT)

        async def statuses(agent: str) -> set[int]:
            search = {"agent_id": agent, "state_vector": [1.0] * DIMENSION}
            answers = [
                await api.post("/v1/episodic/search", json=search),
                await api.post("/v1/episodic", json=memory(agent, 3, vector)),
                await api.get(f"/v1/episodic/{agent}/{memory(agent, 1, vector)['id']}"),
            ]
            return {answer.status_code for answer in answers}

        give_up_at = time.monotonic() + 90
        while "without its data" not in (await api.get("/readyz")).text:
            assert time.monotonic() < give_up_at
            assert await statuses(lost) == {503}
        assert await statuses(lost) == {503}
        assert await statuses(kept) <= {200, 201}
        assert "lost its mark" in await groups(listed, "status")
        assert "Group group-2 is part" in await carry_out(
            "add", "group-2", Settings(groups=listed, dimension=DIMENSION), takes_empty=True
        )
        while 201 not in await statuses(lost):
            assert time.monotonic() < give_up_at
            await asyncio.sleep(0.05)
        answer = await api.post(
            "/v1/episodic/search", json={"agent_id": lost, "state_vector": [1.0] * DIMENSION}
        )
        assert (answer.status_code, answer.json()["count"]) == (200, 1)
