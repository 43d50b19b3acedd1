"""The memory as tools of language models, asked by the official client of MCP."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from app.settings import Settings
from tests.auth.keyed_service import VECTOR, KeyedService, concept, keyed_service, memory, with_keys
from tests.conftest import DIMENSION, running_service

READING = ["recall", "estimate", "query", "patterns", "uplift"]
WRITING = ["remember", "close", "decide", "close_decision"]


@asynccontextmanager
async def model(asking: httpx.AsyncClient) -> AsyncIterator[Any]:
    """The official client with this caller's key."""
    key = {name: asking.headers[name] for name in ("authorization",) if name in asking.headers}
    async with httpx2.AsyncClient(headers=key, timeout=30, verify=False) as http:
        transport = streamable_http_client(f"{asking.base_url}/mcp", http_client=http)
        async with Client(transport) as client:
            yield client


async def call(client: Any, tool: str, **arguments: object) -> Any:
    return await client.call_tool(tool, arguments)


async def test_a_model_lists_recalls_and_estimates(api: httpx.AsyncClient) -> None:
    await api.post("/v1/episodic", json=memory("a", "m1", action="buy", reward=0.5))
    await api.post("/v1/semantic", json=concept("c1"))
    async with model(api) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools) == READING
        assert all(tool.annotations.read_only_hint for tool in tools.values())
        assert tools["recall"].input_schema["required"] == ["agent_id"]
        found = await call(client, "recall", agent_id="a", state_vector=VECTOR, top_k=3)
        assert not found.is_error
        (hit,) = found.structured_content["memories"]
        assert (hit["id"], hit["reward"], hit["distance"]) == (
            "m1",
            0.5,
            pytest.approx(0, abs=1e-6),
        )
        assert json.loads(found.content[0].text) == found.structured_content
        known = await call(client, "estimate", agent_id="a", like="m1")
        assert known.structured_content["actions"][0]["value"] == 0.5
        listed = await call(client, "query", agent_id="a", min_reward=0.4)
        assert listed.structured_content["total"] == 1
        patterns = await call(client, "patterns", memory_type="PATTERN")
        assert patterns.structured_content["memories"][0]["id"] == "c1"


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "said"),
    [
        ("recall", {"agent_id": "a", "state_vector": [1.0]}, "invalid_input", "state_vector"),
        ("recall", {"agent_id": "a"}, "invalid_input", "state_vector: is required"),
        ("recall", {"agent_id": "a", "like": "nobody"}, "memory_not_found", "nobody"),
        ("recall", {"agent_id": "a", "like": "x", "state_vector": VECTOR}, "invalid_input", "one"),
        ("recall", {"agent_id": 5, "like": "x"}, "invalid_input", "agent_id"),
        ("recall", {"agent_id": "a", "like": "x", "as_of": 10**400}, "invalid_input", "as_of"),
        ("recall", {"agent_id": "a{", "like": "x"}, "invalid_input", "agent_id"),
        ("query", {"agent_id": "a", "frobnicate": 1}, "invalid_input", "frobnicate"),
        ("remember", {**memory("a", "m2")}, None, "no tool 'remember'"),
    ],
)
async def test_a_fault_is_told_to_the_model(
    api: httpx.AsyncClient, tool: str, arguments: dict[str, Any], code: str | None, said: str
) -> None:
    async with model(api) as client:
        refused = await call(client, tool, **arguments)
    assert refused.is_error
    assert said in refused.content[0].text
    assert refused.structured_content.get("code") == code
    assert (await api.post("/v1/episodic/query", json={"agent_id": "a"})).json()["total"] == 0


async def test_a_key_opens_what_it_is_for(settings: Settings, tmp_path: Path) -> None:
    keyed = with_keys(settings, tmp_path, mcp="write")
    async with keyed_service(keyed) as service:
        await _each_key(service)
        bare = await service.anonymous.post("/mcp", json={})
        assert (bare.status_code, bare.json()["code"]) == (401, "key_missing")


async def _each_key(service: KeyedService) -> None:
    writer = await service.caller("write", ["one", "two"])
    reader = await service.caller("read", ["one"])
    async with model(writer) as client:
        listed = [tool.name for tool in (await client.list_tools()).tools]
        assert listed == [*READING, *WRITING]
        for agent in ("one", "two"):
            stored = await call(client, "remember", **memory(agent, "m1", action="buy"))
            assert stored.structured_content["created"], stored
        closed = await call(client, "close", agent_id="one", id="m1", reward=0.25)
        assert closed.structured_content["reward"] == 0.25
        again = await call(client, "close", agent_id="one", id="m1", reward=0.5)
        assert again.structured_content["code"] == "outcome_conflict"
        await _decide(client)
    async with model(reader) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == READING
        mine = await call(client, "recall", agent_id="one", state_vector=VECTOR)
        assert mine.structured_content["count"] == 1
        for tool, more in (
            ("recall", {"state_vector": VECTOR}),
            ("query", {}),
            ("recall", {"like": "m1"}),
        ):
            forbidden = await call(client, tool, agent_id="two", **more)
            assert forbidden.is_error
            assert forbidden.structured_content["code"] == "agent_forbidden"
        refused = await call(client, "remember", **memory("one", "m9"))
        assert "no tool 'remember'" in refused.content[0].text
    metrics = await service.caller("metrics")
    assert (await metrics.post("/mcp", json={})).json()["code"] == "role_forbidden"


async def _decide(client: Any) -> None:
    """A recall with an id, and the decision that follows it."""
    asked = await call(client, "estimate", agent_id="one", state_vector=VECTOR, recall=True)
    recall_id = asked.structured_content["recall_id"]
    decided = await call(client, "decide", recall_id=recall_id, action="buy", arm="memory")
    assert decided.structured_content["counts"], decided
    closed = await call(client, "close_decision", recall_id=recall_id, reward=0.5)
    assert closed.structured_content["changed"]
    report = await call(client, "uplift", agent_id="one")
    assert report.structured_content["arms"][0]["mean_reward"] == 0.5
    # By a learned distance: the swarm goes by none yet.
    near = await call(client, "recall", agent_id="one", like="m1", metric="promoted")
    assert near.structured_content["count"] == 1
    missing = await call(client, "recall", agent_id="one", like="m1", metric="one:0")
    assert missing.structured_content["code"] == "metric_not_found"


async def test_it_can_be_off(settings: Settings) -> None:
    async with running_service(settings.model_copy(update={"mcp": "off"})) as api:
        assert (await api.post("/mcp", json={})).status_code == 404


async def test_without_the_sdk_it_says_what_to_install(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mcp.server", None)
    answer = await api.post("/mcp", json={})
    assert answer.status_code == 501
    assert answer.json()["code"] == "mcp_missing"
    assert "pip install '.[mcp]'" in answer.json()["detail"]


async def test_what_is_no_request_of_mcp_is_refused(api: httpx.AsyncClient) -> None:
    accept = {"Accept": "application/json, text/event-stream"}
    assert (await api.post("/mcp", content=b"{", headers=accept)).status_code in {400, 415}
    assert (await api.get("/mcp")).status_code == 405
    wide = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "recall"}}
    body = json.dumps(wide | {"params": {"name": "recall", "arguments": [DIMENSION]}})
    headers = accept | {"Content-Type": "application/json"}
    assert (await api.post("/mcp", content=body, headers=headers)).status_code < 500
    listed = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
    answer = await api.post("/mcp", content=b"\xef\xbb\xbf" + listed, headers=headers)
    assert answer.status_code == 200, answer.text
    for wrong in (
        {"Content-Encoding": "gzip"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "text/plain"},
    ):
        answer = await api.post("/mcp", content=listed, headers=headers | wrong)
        assert answer.status_code == 415, answer.text
