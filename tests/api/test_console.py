"""What the console is served, and the routes that it asks beside those of the memories."""

import asyncio
import gzip
import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from redis.asyncio import Redis

from app.api.console.bundle import script
from app.console import STATIC
from app.settings import Settings
from tests.auth.keyed_service import keyed_service, with_keys
from tests.conftest import DIMENSION, running_service
from tests.kit.service_process import service_process

MOST_BYTES = 400_000
MANY = 300
DAY_S = 86_400.0


def states(count: int) -> NDArray[np.float64]:
    """States that differ most along two directions that are no axis."""
    random = np.random.default_rng(11)
    plane = np.linalg.qr(random.normal(size=(DIMENSION, 2)))[0]
    wide = random.normal(size=(count, 2)) * (3.0, 1.0)
    made: NDArray[np.float64] = wide @ plane.T + 0.5
    return made + 0.1 * random.normal(size=(count, DIMENSION))


def experience(i: int, state: NDArray[np.float64], agent: str = "one") -> dict[str, Any]:
    return {
        "id": f"m{i:04d}",
        "agent_id": agent,
        "product_id": "BTC-USD",
        "regime": ("bull", "bear")[i % 2],
        "action": None if i % 3 == 0 else "buy",
        "reward": (i % 5) - 1.5,
        "timestamp": 1_600_000_000.0 + i * DAY_S,
        "outcome_at": 1_600_000_000.0 + (i + 1) * DAY_S,
        "state_vector": state.tolist(),
    }


@pytest.fixture
async def filled(api: httpx.AsyncClient) -> httpx.AsyncClient:
    batch = [experience(i, state) for i, state in enumerate(states(MANY))]
    stored = (await api.post("/v1/episodic/batch", json={"memories": batch})).json()
    assert stored["failed"] == 0
    return api


def test_the_console_is_small() -> None:
    files = [path for path in STATIC.rglob("*") if path.is_file()]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) < MOST_BYTES


def test_third_party_files_are_those_of_the_lock() -> None:
    for folder in (STATIC / "vendor", Path(__file__).parents[1] / "browser" / "vendor"):
        files = json.loads((folder / "vendor.lock.json").read_text())["files"]
        scripts = {path.name for path in folder.iterdir() if path.suffix in {".js", ".css"}}
        assert scripts == set(files)
        for name, said in files.items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == said["sha256"]
            for package in said["packages"]:
                plain = package["name"].replace("@", "").replace("/", "-")
                assert (folder / f"LICENSE-{plain}.txt").is_file()


async def test_the_page_may_load_its_own_files_only(api: httpx.AsyncClient) -> None:
    for path in ("/console/", "/console/js/main.js", "/console/runbooks/restore.md"):
        answer = await api.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = await api.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
    page = (await api.get("/console/")).text
    assert re.findall(r"<script(?![^>]*src=)|<style|\son\w+=", page) == []
    for path in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert (await api.get(f"/console/{path}")).status_code == 200, path


async def test_a_first_visit_asks_for_one_script_and_one_sheet(api: httpx.AsyncClient) -> None:
    page = (await api.get("/console/")).text
    named = re.findall(r'"(console\.(?:js|css)\?v=\w+)"', page)
    assert len(named) == len(re.findall(r"<script|rel=\"stylesheet", page)) == 2
    for path in named:
        kept = await api.get(f"/console/{path}")
        assert "immutable" in kept.headers["cache-control"]
        other_release = await api.get(f"/console/{path}0")
        assert other_release.headers["cache-control"] == "no-cache"
    script = (await api.get(f"/console/{named[1]}")).text
    for module in STATIC.rglob("*.js"):
        assert f'"{module.relative_to(STATIC).as_posix()}": () => {{' in script


@pytest.mark.parametrize(
    "text",
    [
        "export default 1;",
        'export { one } from "./b.js";',
        'import "./b.js";',
        'import { one } from "./b.js"; one();',
        "const here = import.meta.url;",
        'import { start } from "./a.js";\nexport const one = start;',
    ],
)
def test_a_module_that_cannot_be_joined_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.js").write_text('import { one } from "./b.js";\nexport const start = one;\n')
    (tmp_path / "b.js").write_text(text)
    with pytest.raises(ValueError, match=r"^[ab]\.js"):
        script(tmp_path, "a.js")


@pytest.mark.parametrize(
    "path", ["/console/..%2f..%2fapp.py", "/console/runbooks/..%2f..%2fREADME.md"]
)
async def test_no_other_file_is_served(api: httpx.AsyncClient, path: str) -> None:
    assert (await api.get(path)).status_code == 404


async def test_a_map_is_the_principal_components(filled: httpx.AsyncClient) -> None:
    answer = (await filled.get("/v1/episodic/one/map")).json()
    unit = states(MANY)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ directions[:2].T
    points = np.array([[point["x"], point["y"]] for point in answer["points"]])
    signs = np.sign((points * expected).sum(axis=0))
    assert np.abs(points - expected * signs).max() < 1e-4
    shares = sizes**2 / (sizes**2).sum()
    assert answer["explained"] == pytest.approx(shares[:2].tolist(), abs=1e-5)
    assert (answer["total"], answer["sampled"]) == (MANY, False)
    last = answer["points"][-1]
    assert (last["id"], last["regime"], last["action"]) == ("m0299", "bear", "buy")
    assert last["timestamp"] == 1_600_000_000.0 + 299 * DAY_S
    assert (await filled.get("/v1/episodic/one/map")).json() == answer


async def test_a_map_above_its_limit_is_an_even_part(filled: httpx.AsyncClient) -> None:
    answer = (await filled.get("/v1/episodic/one/map", params={"limit": 100})).json()
    assert (answer["total"], answer["sampled"]) == (MANY, True)
    assert [point["id"] for point in answer["points"]] == [f"m{i:04d}" for i in range(0, MANY, 3)]


async def test_a_map_as_columns_and_as_of(filled: httpx.AsyncClient) -> None:
    points = (await filled.get("/v1/episodic/one/map")).json()["points"]
    columns = (await filled.get("/v1/episodic/one/map?form=columns")).json()["columns"]
    for name in ("id", "x", "y", "reward", "timestamp"):
        assert columns[name] == [point[name] for point in points]
    for name in ("regime", "product_id", "action"):
        names, codes = columns[name]["names"], columns[name]["codes"]
        assert [names[code] for code in codes] == [point[name] for point in points]
    as_of = 1_600_000_000.0 + 10 * DAY_S
    known = (await filled.get("/v1/episodic/one/map", params={"as_of": as_of})).json()
    assert [point["id"] for point in known["points"]] == [f"m{i:04d}" for i in range(10)]


async def test_a_map_of_nothing_and_of_one(api: httpx.AsyncClient) -> None:
    nothing = (await api.get("/v1/episodic/one/map")).json()
    assert (nothing["points"], nothing["total"]) == ([], 0)
    memory = experience(0, states(1)[0])
    (await api.post("/v1/episodic", json=memory)).raise_for_status()
    one = (await api.get("/v1/episodic/one/map")).json()
    assert [(point["x"], point["y"]) for point in one["points"]] == [(0.0, 0.0)]


async def test_agents_with_counts_and_rewards_by_regime(filled: httpx.AsyncClient) -> None:
    memory = experience(7, states(1)[0], agent="two")
    (await filled.post("/v1/episodic", json=memory)).raise_for_status()
    first = (await filled.get("/v1/agents", params={"limit": 1})).json()
    (one,) = first["agents"]
    assert (one["agent_id"], one["memories"], one["stored_24h"]) == ("one", MANY, MANY)
    assert one["latest"] == 1_600_000_000.0 + 299 * DAY_S
    assert one["stored_at"] > 1_700_000_000
    counted = (await filled.get("/v1/agents", params={"times": False})).json()["agents"]
    assert [(a["agent_id"], a["memories"], a["latest"]) for a in counted] == [
        ("one", MANY, None),
        ("two", 1, None),
    ]
    second = (await filled.get("/v1/agents", params={"cursor": first["next_cursor"]})).json()
    assert [agent["agent_id"] for agent in second["agents"]] == ["two"]
    assert second["next_cursor"] is None
    detail = (await filled.get("/v1/agents/one")).json()
    rewards = {
        name: [(i % 5) - 1.5 for i in range(k, MANY, 2)] for k, name in enumerate(("bull", "bear"))
    }
    assert {found["regime"] for found in detail["regimes"]} == set(rewards)
    for found in detail["regimes"]:
        own = rewards[found["regime"]]
        assert found["memories"] == len(own)
        assert found["mean_reward"] == pytest.approx(np.mean(own))
        assert found["win_rate"] == pytest.approx(np.mean(np.array(own) > 0))
    assert (await filled.get("/v1/agents/nobody")).status_code == 404


async def test_a_map_is_kept_until_the_memory_changes(
    filled: httpx.AsyncClient, redis: Redis
) -> None:
    asked = "/v1/episodic/one/map"
    first = (await filled.get(asked)).json()
    # Behind the service's back: a map that is drawn again would tell.
    stored = await redis.hget("episodic:{one}:m0000", "record")
    assert stored is not None
    record = json.loads(stored)
    await redis.hset("episodic:{one}:m0000", "record", json.dumps(record | {"regime": "other"}))
    assert (await filled.get(asked)).json() == first
    (await filled.post("/v1/episodic", json=experience(MANY, states(1)[0]))).raise_for_status()
    again = (await filled.get(asked)).json()
    assert (again["total"], again["points"][0]["regime"]) == (MANY + 1, "other")


async def test_growth_counts_what_is_there(filled: httpx.AsyncClient) -> None:
    found = (await filled.get("/v1/agents/one/growth?by=timestamp&points=8")).json()
    moments = 1_600_000_000.0 + DAY_S * np.arange(MANY)
    assert found["times"] == np.linspace(moments[0], moments[-1], 8).tolist()
    assert found["memories"] == np.searchsorted(moments, found["times"], "right").tolist()
    await filled.delete("/v1/episodic/one/m0000")
    stored = (await filled.get("/v1/agents/one/growth")).json()
    assert (stored["by"], stored["memories"][-1], stored["undated"]) == ("recorded_at", MANY - 1, 0)
    assert stored["memories"] == sorted(stored["memories"])
    assert (await filled.get("/v1/agents/nobody/growth")).status_code == 404


async def test_live_tells_every_change_and_question(filled: httpx.AsyncClient) -> None:
    watching = Watching(filled, until=7)
    await watching.until_told_of_questions(filled)
    state = states(1)[0].tolist()
    search = {"agent_id": "one", "state_vector": state, "scope": "all", "top_k": 3}
    tool = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "recall", "arguments": search | {"top_k": 2}},
    }
    accept = {"Accept": "application/json, text/event-stream"}
    new = [experience(MANY + i, one) for i, one in enumerate(states(4))]
    opened = {k: v for k, v in new[0].items() if k not in {"reward", "outcome_at"}}
    url = "/v1/episodic/one"
    for answer in (
        await filled.post("/v1/episodic", json=opened),
        await filled.post("/v1/episodic/batch", json={"memories": new[1:]}),
        await filled.post(f"{url}/m0300/outcome", json={"reward": 0.25}),
        await filled.patch(f"{url}/m0301", json={"priority": 2.0}),
        await filled.patch(f"{url}/m0302", json={"priority": 2.0}),
        await filled.delete(f"{url}/m0301"),
        await filled.post("/v1/episodic/search/batch", json={"searches": [search, search, {}]}),
        await filled.post("/mcp", json=tool, headers=accept),
    ):
        assert answer.is_success, answer.text
    told = await watching.told
    changes = [(e["kind"], e["count"], e.get("id")) for e in told if "took_ms" not in e]
    assert changes == [
        ("store", 1, "m0300"),
        ("store", 3, None),
        ("outcome", 1, "m0300"),
        ("rating", 2, None),
        ("delete", 1, "m0301"),
    ]
    outcome = next(e for e in told if e["kind"] == "outcome")
    assert (outcome["agent_id"], outcome["reward"], outcome["regime"]) == ("one", 0.25, "bull")
    asked = (await filled.get("/v1/agents", params={"asked": True})).json()["asked"]
    assert asked["answers"] == 3
    assert asked["pairs"] == [
        {"asker": "one", "owner": "one", "recalls": 3, "estimates": 0, "memories": 8}
    ]
    recalls = [(e.get("count", 1), e["found"], e["owners"]) for e in told if e["kind"] == "recall"]
    assert recalls == [(2, 6, {"one": 6}), (1, 2, {"one": 2})]


async def test_whoami_without_keys(api: httpx.AsyncClient) -> None:
    told = (await api.get("/v1/whoami")).json()
    assert (told["key_id"], told["role"], told["agents"]) == ("anonymous", "admin", None)


async def events(
    client: httpx.AsyncClient, has_begun: asyncio.Event
) -> AsyncIterator[dict[str, Any]]:
    """What the live view tells until its stream ends. Every change after its beginning is told."""
    async with client.stream("GET", "/v1/live", headers={"X-Deadline-Ms": "100000"}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        has_begun.set()
        async for line in stream.aiter_lines():
            if line.startswith("data: "):
                for event in json.loads(line.removeprefix("data: "))["events"]:
                    yield event


async def test_live_ends_well_however_short_its_time_is(api: httpx.AsyncClient) -> None:
    for deadline_ms in ("1", "20"):
        answer = await api.get("/v1/live", headers={"X-Deadline-Ms": deadline_ms})
        assert answer.status_code in (200, 504)
        assert answer.headers["content-type"].startswith(
            "text/event-stream" if answer.is_success else "application/problem+json"
        )


async def test_a_key_sees_its_own_agents_only(settings: Settings, tmp_path: Path) -> None:
    async with keyed_service(with_keys(settings, tmp_path)) as service:
        admin = await service.caller("admin")
        reader = await service.caller("read", ["one"], cross_agent=True)
        state = states(1)[0]
        for agent in ("one", "two"):
            memory = experience(0, state, agent)
            (await admin.post("/v1/episodic", json=memory)).raise_for_status()
        assert [a["agent_id"] for a in (await reader.get("/v1/agents")).json()["agents"]] == ["one"]
        for path in ("/v1/agents/two", "/v1/episodic/two/map"):
            assert (await reader.get(path)).json()["code"] == "agent_forbidden"
        told = (await reader.get("/v1/whoami")).json()
        assert (told["role"], told["agents"], told["cross_agent"]) == ("read", ["one"], True)
        watching = Watching(reader, until=1)  # what it may not see would come first
        await watching.until_told_of_questions(admin)
        for agent in ("two", "one"):
            question = {"agent_id": agent, "state_vector": state.tolist(), "scope": "all"}
            (await admin.post("/v1/episodic/search", json=question)).raise_for_status()
        found = await watching.told
        asked = (await reader.get("/v1/agents", params={"asked": True})).json()["asked"]
        assert [(pair["asker"], pair["owner"]) for pair in asked["pairs"]] == [("one", "one")]
        assert [(event["kind"], event["agent_id"]) for event in found] == [("recall", "one")]
        assert found[0]["owners"] == {"one": 1}


class Watching:
    """Collects so many events of the live view. Questions of scope `own` do not count: by them it
    is found out whether the service knows that somebody watches, which it looks for twice a second.
    """

    def __init__(self, client: httpx.AsyncClient, *, until: int) -> None:
        self._is_told = asyncio.Event()
        self.told = asyncio.create_task(self._collect(client, until))

    async def _collect(self, client: httpx.AsyncClient, until: int) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []
        async for event in events(client, asyncio.Event()):
            if event.get("scope") == "own":
                self._is_told.set()
            else:
                told.append(event)
            if len(told) == until:
                break
        return told

    async def until_told_of_questions(self, asker: httpx.AsyncClient) -> None:
        question = {"agent_id": "one", "state_vector": states(1)[0].tolist()}
        while not self._is_told.is_set():
            (await asker.post("/v1/episodic/search", json=question)).raise_for_status()
            await asyncio.sleep(0.05)


async def test_live_needs_a_key_that_may_see_the_present(settings: Settings) -> None:
    async with running_service(settings.model_copy(update={"require_as_of": True})) as client:
        for path in ("/v1/live", "/v1/episodic/one/map", "/v1/agents/one"):
            assert (await client.get(path)).json()["field"] == "as_of", path


def test_events_of_all_worker_processes_are_told(tmp_path: Path) -> None:
    stored = [f"m{i:04d}" for i in range(12)]

    async def watched(client: httpx.AsyncClient, has_begun: asyncio.Event) -> list[str]:
        ids = []
        async for event in events(client, has_begun):
            ids.append(event["id"])
            if len(ids) == len(stored):
                break
        return sorted(ids)

    async def watch_and_store(url: str) -> None:
        # A connection of its own for each: the system spreads them over the processes.
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=60))
                for _ in range(4 + len(stored))
            ]
            await watch(clients[:4], clients[4:])

    async def watch(watchers: list[httpx.AsyncClient], stores: list[httpx.AsyncClient]) -> None:
        begun = [asyncio.Event() for _ in watchers]
        seen = [asyncio.create_task(watched(*each)) for each in zip(watchers, begun, strict=True)]
        for has_begun in begun:
            await has_begun.wait()
        for i, (client, state) in enumerate(zip(stores, states(len(stored)), strict=True)):
            answer = await client.post("/v1/episodic", json=experience(i, state))
            assert answer.status_code == 201
        assert await asyncio.gather(*seen) == [stored] * len(watchers)

    folder = tmp_path / "data"
    with service_process(port=0, workers=2, data_dir=folder, dimension=DIMENSION) as service:
        asyncio.run(watch_and_store(service.url))
