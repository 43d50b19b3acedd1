"""A group that is away takes its own agents with it and nobody else's."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.decisions.recall_ids import Shares, new_recall_id
from app.embedded import EmbeddedTopology
from app.storage.agents import AgentNames, FoundAgents
from tests.conftest import running_service
from tests.kit.group_set import group_set, settings_of
from tests.nodes.test_groups import at, memory

AGENTS = tuple(f"agent-{number}" for number in range(9))


@pytest.fixture(scope="module")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedTopology]:
    async with group_set(tmp_path_factory.mktemp("groups")) as started:
        yield started


async def until(said: Callable[[], Awaitable[bool]], what: str) -> None:
    give_up_at = time.monotonic() + 90
    while not await said():
        assert time.monotonic() < give_up_at, what
        await asyncio.sleep(0.05)


async def search(
    api: httpx.AsyncClient, agent: str, scope: str = "own", deadline_ms: int = 20_000
) -> httpx.Response:
    body = {"agent_id": agent, "scope": scope, "state_vector": at(1.0), "explain": scope == "own"}
    headers = {"X-Deadline-Ms": str(deadline_ms)}
    return await api.post("/v1/episodic/search", json=body, headers=headers)


async def test_a_group_takes_only_its_own_agents_away(nodes: EmbeddedTopology) -> None:
    async with (
        running_service(settings_of(nodes)) as api,
        running_service(settings_of(nodes, partial_answers=False)) as strict,
    ):
        groups: dict[str, list[str]] = {}
        for number, agent in enumerate(AGENTS):
            decided = memory(agent, "bull", 0.9 - 0.01 * number)
            for body in (decided, decided | {"id": recall_of(agent)}):
                stored = await api.post("/v1/episodic", json=body)
                assert stored.is_success, stored.text
            answer = (await search(api, agent)).json()
            groups.setdefault(answer["explain"]["group"], []).append(agent)
        assert len(groups) == 3
        away = "group-2"  # the home is group-1
        rest = sorted(agent for name, some in groups.items() if name != away for agent in some)
        process = nodes.groups[away].master.process
        (pid,) = children(process.pid)[:1]
        os.kill(pid, signal.SIGSTOP)
        try:
            await until(lambda: fails(api, groups[away][0]), "the group is seen to be away")
            for agent in rest:
                assert (await search(api, agent)).status_code == 200
                stored = await api.post("/v1/episodic", json=memory(agent, "bear", 0.1))
                assert stored.is_success, stored.text
            await until(lambda: is_silent(api, away), "its channel is seen to be silent")
            await until(lambda: is_cached(api, rest[0]), "another group's answers are cached")
            new = await api.post("/v1/episodic", json=memory("newcomer", "bull", 0.2))
            assert new.is_success, new.text
            said = (await search(api, rest[0], "all")).json()
            assert (said["partial"], said["exact"]) == (True, False)
            assert said["unanswered_groups"] == [away]
            assert {m["agent_id"] for m in said["memories"]} <= {*rest, "newcomer"}
            assert (await search(strict, rest[0], "all")).status_code in {503, 504}
            stats = (await api.get("/v1/stats")).json()
            assert (stats["partial"], stats["unanswered_groups"]) == (True, [away])
            assert {a["agent_id"] for a in stats["agents"]} == {*rest, "newcomer"}
            listed = (await api.get("/v1/agents")).json()
            assert (listed["partial"], listed["unanswered_groups"]) == (True, [away])
            await answers_without(away, "newcomer", groups, api, strict)
            telling = asyncio.create_task(is_told_live(api, rest[0]))
            for number in range(500):
                if telling.done():
                    break
                body = memory(rest[0], "bear", 0.1) | {"id": f"told-{number}"}
                assert (await api.post("/v1/episodic", json=body)).is_success
                await asyncio.sleep(0.1)
            assert await telling
            uplift = (await api.get("/v1/uplift")).json()
            assert (uplift["partial"], uplift["unanswered_groups"]) == (True, [away])
            assert {a["agent_id"] for a in uplift["agents"]} == set(rest)
            refused = (await strict.get("/v1/uplift")).json()
            assert (refused["status"], refused["retryable"]) == (503, True)
            body = {"agent_id": rest[0], "scope": "all", "state_vector": at(1.0)}
            estimate = (await api.post("/v1/episodic/estimate", json=body)).json()
            assert (estimate["partial"], estimate["unanswered_groups"]) == (True, [away])
            verdict = await evaluated(api, agent_id=rest[0], scope="all")
            assert verdict["status"] == "failed", "a verdict about a part would not say so"
            assert away in verdict["problem"]["detail"]
            ready = await api.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
            assert ready.json()["parts"][f"{away}/master"]["status"] == "failed"
        finally:
            os.kill(pid, signal.SIGCONT)
        await until(lambda: answers(api, groups[away][0]), "the group is back")
        await until(lambda: is_whole(api, rest[0]), "it is asked again")


async def answers_without(
    away: str,
    new: str,
    groups: dict[str, list[str]],
    api: httpx.AsyncClient,
    strict: httpx.AsyncClient,
) -> None:
    """Check what is listed if the group went away after it had named its agents."""
    names = sorted([new, *(agent for some in groups.values() for agent in some)])

    async def found(_: AgentNames) -> FoundAgents:
        return FoundAgents(names)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AgentNames, "found", found)
        for path in ("/v1/agents", "/v1/agents?times=false", "/v1/stats", "/v1/uplift"):
            told = (await api.get(path)).json()
            assert (told["partial"], told["unanswered_groups"]) == (True, [away]), path
            agents = [agent["agent_id"] for agent in told["agents"]]
            assert path == "/v1/uplift" or set(names) - set(agents) <= {*groups[away]}, path
            refused = (await strict.get(path)).json()
            assert (refused["status"] in {503, 504}, refused["retryable"]) == (True, True), path


async def test_questions_about_many_agents_do_not_wait_for_a_group_that_hangs(
    nodes: EmbeddedTopology,
) -> None:
    """Its replies would be waited for five times as long as this test may take."""
    settings = settings_of(nodes, redis_read_timeout_s=300, default_deadline_ms=300_000)
    async with running_service(settings) as api:
        groups: dict[str, str] = {}
        for agent in AGENTS:
            await api.post("/v1/episodic", json=memory(agent, "open", 0.9))
            groups[agent] = (await search(api, agent)).json()["explain"]["group"]
        away = "group-3"
        asker = next(agent for agent, group in groups.items() if group != away)
        (pid,) = children(nodes.groups[away].master.process.pid)[:1]
        os.kill(pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(60):
                told = await asyncio.gather(*(ask_all_agents(api, asker) for _ in range(4)))
                slow = (await api.get("/v1/slow-queries")).json()
            assert [(a["partial"], a["unanswered_groups"]) for a in told] == [(True, [away])] * 4
            assert slow["silent_nodes"] == [f"{away}/master"]
        finally:
            os.kill(pid, signal.SIGCONT)
        await until(lambda: is_ready(api), "all parts are well")


async def test_a_group_that_hangs_delays_nobody_else(nodes: EmbeddedTopology) -> None:
    """Not even the home, which counts the requests of all agents."""
    settings = settings_of(nodes, limit_agent_requests_per_s=1000, redis_read_timeout_s=20.0)
    async with running_service(settings) as api:
        groups: dict[str, list[str]] = {}
        for agent in AGENTS:
            stored = await api.post("/v1/episodic", json=memory(agent, "calm", 0.9))
            assert stored.is_success, stored.text
            answer = (await search(api, agent)).json()
            groups.setdefault(answer["explain"]["group"], []).append(agent)
        home = "group-1"
        rest = [agent for name, some in groups.items() if name != home for agent in some]
        (pid,) = children(nodes.groups[home].master.process.pid)[:1]
        os.kill(pid, signal.SIGSTOP)
        try:
            body = {"agent_id": groups[home][0], "state_vector": at(1.0)}
            hanging = asyncio.create_task(api.post("/v1/episodic/search", json=body))
            asked = []
            for number in range(50):
                agent = rest[number % len(rest)]
                asked.append(asyncio.create_task(search(api, agent)))
                stored_by = memory(agent, "calm", 0.9) | {"id": f"calm-{number}"}
                asked.append(asyncio.create_task(api.post("/v1/episodic", json=stored_by)))
                await asyncio.sleep(0.02)
            for answered in await asyncio.gather(*asked):
                assert answered.is_success, answered.text
            index = (await api.get("/readyz")).json()["parts"]["index"]
            assert (index["status"], index["unanswered_groups"]) == ("degraded", [home])
            assert not hanging.done(), "the others waited for the group that hangs"
        finally:
            os.kill(pid, signal.SIGCONT)
        assert (await hanging).is_success


def recall_of(agent: str) -> str:
    """The id of a recall that the memory answered: a memory under it is a decision."""
    return new_recall_id(agent, "memory", Shares(1, 1), b"12345678", time.time())


async def evaluated(api: httpx.AsyncClient, **asked: str) -> dict[str, Any]:
    """The verdict, or why there is none."""
    found: dict[str, Any] = (await api.post("/v1/evaluate", json=asked)).json()
    while found["status"] in {"queued", "running"}:
        await asyncio.sleep(0.05)
        found = (await api.get(f"/v1/evaluate/{found['id']}")).json()
    return found


async def ask_all_agents(api: httpx.AsyncClient, agent: str) -> Any:
    """The answer to an estimate over all agents, which lists them and searches for all of them."""
    body = {"agent_id": agent, "scope": "all", "state_vector": at(1.0)}
    return (await api.post("/v1/episodic/estimate", json=body)).json()


async def fails(api: httpx.AsyncClient, agent: str) -> bool:
    return (await search(api, agent, deadline_ms=2000)).status_code in {503, 504}


async def is_silent(api: httpx.AsyncClient, group: str) -> bool:
    channel = (await api.get("/readyz")).json()["parts"]["cache_channel"]
    return channel["status"] == "failed" and group in channel["detail"]


async def is_told_live(api: httpx.AsyncClient, agent: str) -> bool:
    headers = {"X-Deadline-Ms": "80000"}
    async with api.stream("GET", "/v1/live", headers=headers) as stream:
        assert stream.status_code == 200
        async for line in stream.aiter_lines():
            if f'"{agent}"' in line:
                return True
    return False


async def is_cached(api: httpx.AsyncClient, agent: str) -> bool:
    body = {"agent_id": agent, "state_vector": at(1.0)}
    answers = [(await api.post("/v1/episodic/search", json=body)).json() for _ in range(2)]
    return bool(answers[1]["cached"])


async def is_whole(api: httpx.AsyncClient, agent: str) -> bool:
    return (await search(api, agent, "all")).json()["partial"] is False


async def is_ready(api: httpx.AsyncClient) -> bool:
    return bool((await api.get("/readyz")).json()["status"] == "ok")


async def answers(api: httpx.AsyncClient, agent: str) -> bool:
    return (await search(api, agent)).status_code == 200


def children(pid: int) -> list[int]:
    """The processes that this one started: the guard's is the server."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    return [int(one) for one in text.split()]


async def test_a_service_starts_without_a_group_and_takes_it_up_later(
    nodes: EmbeddedTopology,
) -> None:
    """With the address of a Redis that is not there yet."""
    async with running_service(settings_of(nodes)) as api:
        for agent in AGENTS:
            await api.post("/v1/episodic", json=memory(agent, "early", 0.9))
        of = {a: (await search(api, a)).json()["explain"]["group"] for a in AGENTS}
    (pid,) = children(nodes.groups["group-3"].master.process.pid)[:1]
    os.kill(pid, signal.SIGSTOP)
    try:
        settings = settings_of(nodes, redis_read_timeout_s=3.5)
        async with running_service(settings) as api:
            for agent, group in of.items():
                expected = 503 if group == "group-3" else 200
                answer = await search(api, agent)
                assert answer.status_code == expected, answer.text
                assert expected == 200 or "Group group-3 is away" in answer.json()["detail"]
            os.kill(pid, signal.SIGCONT)
            late = next(agent for agent, group in of.items() if group == "group-3")
            await until(lambda: answers(api, late), "the group is taken up")
            await until(lambda: is_ready(api), "all parts are well")
    finally:
        os.kill(pid, signal.SIGCONT)
