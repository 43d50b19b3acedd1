"""A key opens what it is for, and nothing else tells whether there is more."""

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.permissions import OPEN, RULES
from app.settings import Settings
from tests.auth.keyed_service import VECTOR, KeyedService, concept, keyed_service, memory, with_keys

SEARCH = {"agent_id": "one", "state_vector": VECTOR}


async def operations(service: KeyedService) -> dict[tuple[str, str], Any]:
    document = (await service.anonymous.get("/openapi.json")).json()
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


async def test_every_route_of_the_document_has_a_rule_and_keeps_it(service: KeyedService) -> None:
    metrics_only = await service.caller("metrics")
    found = await operations(service)
    assert len(found) > 20
    for (method, path), operation in found.items():
        assert (method, path) in RULES
        url = re.sub(r"\{.*?\}", "x", path)
        bare = await service.anonymous.request(method, url)
        wrong = await service.anonymous.request(
            method, url, headers={"Authorization": f"Bearer cm_{'0' * 12}_{'0' * 64}"}
        )
        if RULES[method, path] == OPEN:
            assert bare.status_code == 200
            assert "security" not in operation
            continue
        assert (bare.status_code, bare.json()["code"]) == (401, "key_missing"), path
        assert bare.headers["www-authenticate"].startswith("Bearer")
        assert (wrong.status_code, wrong.json()["code"]) == (401, "key_invalid"), path
        assert operation["security"]
        low = await metrics_only.request(method, url)
        if path == "/metrics":
            assert low.status_code == 200
        else:
            assert (low.status_code, low.json()["code"]) == (403, "role_forbidden"), path


async def test_a_route_without_a_rule_is_not_served(
    service: KeyedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = await service.caller("admin")
    assert (await admin.get("/v1/stats")).status_code == 200
    monkeypatch.delitem(RULES, ("GET", "/v1/stats"))
    assert (await admin.get("/v1/stats")).status_code == 404
    assert (await admin.put("/v1/episodic")).status_code == 405
    assert (await service.anonymous.get("/v1/nothing")).status_code == 401


async def test_docs_work_without_a_key(service: KeyedService) -> None:
    page = await service.anonymous.get("/docs")
    assert page.status_code == 200
    for script in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert (await service.anonymous.get(script)).status_code == 200
    document = (await service.anonymous.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"


async def test_roles(service: KeyedService) -> None:
    reader = await service.caller("read", ["one"])
    writer = await service.caller("write", ["one"])
    stored = await writer.post("/v1/episodic", json=memory("one", "m"))
    assert stored.status_code == 201
    assert (await reader.post("/v1/episodic", json=memory("one", "n"))).status_code == 403
    assert (await reader.post("/v1/episodic/search", json=SEARCH)).json()["count"] == 1
    token = stored.json()["token"]
    answer = await reader.post("/v1/episodic/search", json=SEARCH | {"consistency": token})
    assert answer.json()["count"] == 1
    assert (await reader.delete("/v1/episodic/one/m")).status_code == 403
    assert (await writer.post("/v1/retention", json={})).json()["code"] == "role_forbidden"
    admin = await service.caller("admin", ["one"])
    assert (await admin.post("/v1/retention", json={})).json()["code"] == "agent_forbidden"
    own = await admin.post("/v1/retention", json={"agent_id": "one"})
    assert own.status_code == 200
    assert (await admin.get("/metrics")).status_code == 403
    assert (await (await service.caller("read")).get("/metrics")).status_code == 200
    assert (await writer.delete("/v1/episodic/one/m")).status_code == 204


async def test_nothing_of_another_agent_is_told(service: KeyedService) -> None:
    one = await service.caller("write", ["one"])
    two = await service.caller("write", ["two"])
    await two.post("/v1/episodic", json=memory("two", "secret", regime="tell-tale"))
    for there, not_there in [
        ("/v1/episodic/two/secret", "/v1/episodic/two/none"),
        ("/v1/episodic/two/secret", "/v1/episodic/nobody/secret"),
    ]:
        for method in ("GET", "DELETE"):
            answers = [await one.request(method, url) for url in (there, not_there)]
            assert {answer.status_code for answer in answers} == {403}
            assert len({comparable(answer, "two", "nobody") for answer in answers}) == 1
    outcome = await one.post("/v1/episodic/two/secret/outcome", json={"reward": 1})
    assert outcome.json()["code"] == "agent_forbidden"
    for path, body in [
        ("search", SEARCH | {"agent_id": "two"}),
        ("query", {"agent_id": "two"}),
        ("delete", {"agent_id": "two", "dry_run": False}),
    ]:
        answer = await one.post(f"/v1/episodic/{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "agent_forbidden")
    for scope in ("others", "all"):
        answer = await one.post("/v1/episodic/search", json=SEARCH | {"scope": scope})
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_forbidden")
    assert (await two.get("/v1/episodic/two/secret")).status_code == 200


def comparable(answer: httpx.Response, *names: str) -> str:
    text = re.sub(r'"request_id":"\w+"', "", answer.text)
    return re.sub("|".join(names), "NAME", text)


async def test_each_item_of_a_batch_is_asked_for(service: KeyedService) -> None:
    one = await service.caller("write", ["one"])
    batch = await one.post(
        "/v1/episodic/batch", json={"memories": [memory("one", "a"), memory("two", "a")]}
    )
    results = batch.json()["results"]
    assert [result["status"] for result in results] == ["created", "error"]
    assert results[1]["error"]["code"] == "agent_forbidden"
    asked = [SEARCH, SEARCH | {"agent_id": "two"}, SEARCH | {"scope": "all"}]
    found = await one.post("/v1/episodic/search/batch", json={"searches": asked})
    answers = found.json()["results"]
    assert answers[0]["count"] == 1
    assert [answer.get("code") for answer in answers[1:]] == ["agent_forbidden", "scope_forbidden"]


async def test_cross_agent_questions_are_a_right_of_their_own(service: KeyedService) -> None:
    await (await service.caller("write")).post("/v1/episodic", json=memory("two", "m"))
    one = await service.caller("read", ["one"], cross_agent=True)
    everyone = await one.post("/v1/episodic/search", json=SEARCH | {"scope": "all"})
    assert [found["agent_id"] for found in everyone.json()["memories"]] == ["two"]
    answer = await one.post("/v1/episodic/search", json=SEARCH | {"agent_id": "two"})
    assert answer.json()["code"] == "agent_forbidden"


async def test_patterns_match_whole_names_and_only_the_star_is_special(
    service: KeyedService,
) -> None:
    desk = await service.caller("read", agent_patterns=["desk-*"])
    exact = await service.caller("read", ["a*", "a.c"])
    for client, agent, status in [
        (desk, "desk-", 200),
        (desk, "desk-a\u2028b", 200),
        (desk, "my-desk-a", 403),
        (exact, "a*", 200),
        (exact, "ab", 403),
        (exact, "a.c", 200),
        (exact, "abc", 403),
        (exact, "A*", 403),
    ]:
        answer = await client.post("/v1/episodic/search", json=SEARCH | {"agent_id": agent})
        assert answer.status_code == status, agent


async def test_semantic_memory_is_read_by_all_and_changed_by_right(service: KeyedService) -> None:
    plain = await service.caller("write", ["one"])
    editor = await service.caller("write", ["one"], semantic_write=True)
    assert (await editor.post("/v1/semantic", json=concept("c"))).status_code == 201
    assert (await plain.get("/v1/semantic/c")).status_code == 200
    found = await plain.post("/v1/semantic/search", json={"concept_vector": VECTOR})
    assert found.json()["count"] == 1
    for method, path, body in [
        ("POST", "", concept("d")),
        ("POST", "/batch", {"memories": [concept("d")]}),
        ("POST", "/delete", {"dry_run": False}),
        ("PATCH", "/c", {"win_rate": 0.1}),
        ("DELETE", "/c", None),
    ]:
        answer = await plain.request(method, f"/v1/semantic{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "semantic_forbidden"), path
    assert (await editor.delete("/v1/semantic/c")).status_code == 204


@pytest.mark.parametrize("layout", ["per_agent", "shared"])
async def test_stats_and_slow_queries_show_own_agents_only(
    settings: Settings, tmp_path: Path, layout: str
) -> None:
    update = {"layout": layout, "slowlog_slower_than_us": 0}
    async with keyed_service(with_keys(settings, tmp_path, **update)) as service:
        everyone = await service.caller("admin")
        one = await service.caller("read", ["one"])
        batch = [memory("one", "m"), *(memory("tell-tale", f"m{i}") for i in range(3))]
        await everyone.post("/v1/episodic/batch", json={"memories": batch})
        for agent in ("one", "tell-tale"):
            await everyone.post("/v1/episodic/search", json=SEARCH | {"agent_id": agent})
        whole = (await everyone.get("/v1/stats")).json()
        assert whole["totals"]["memories"] == 4
        own = await one.get("/v1/stats")
        assert "tell-tale" not in own.text
        assert own.json()["totals"]["memories"] == own.json()["totals"]["agents"] == 1
        assert "episodic_memory_idx" not in [index["name"] for index in own.json()["indexes"]]
        assert (await one.get("/v1/stats?agent_id=tell-tale")).status_code == 403
        slow = await one.get("/v1/slow-queries?limit=1000")
        assert {call["agent_id"] for call in slow.json()["slow_queries"]} == {"one"}
        assert "tell-tale" in (await everyone.get("/v1/slow-queries?limit=1000")).text


async def test_limits_of_a_key(service: KeyedService) -> None:
    limits = {"top_k": 5, "batch": 2, "metadata_bytes": 20, "body_bytes": 2000}
    one = await service.caller("write", ["one"], limits=limits)
    large = await one.post("/v1/episodic/search", json=SEARCH | {"top_k": 6})
    assert (large.status_code, large.json()["field"]) == (422, "top_k")
    three = await one.post("/v1/episodic/search/batch", json={"searches": [SEARCH] * 3})
    assert (three.status_code, three.json()["field"]) == (422, "searches")
    many = [memory("one", f"m{i}") for i in range(3)]
    assert (await one.post("/v1/episodic/batch", json={"memories": many})).status_code == 422
    talkative = memory("one", "m", metadata={"text": "x" * 20})
    assert (await one.post("/v1/episodic", json=talkative)).json()["field"] == "metadata"
    assert (await one.post("/v1/episodic", content=b" " * 2001)).status_code == 413

    async def chunks() -> Any:
        for _ in range(3):
            yield b" " * 1000

    assert (await one.post("/v1/episodic", content=chunks())).status_code == 413
    assert (await one.post("/v1/episodic", json=memory("one", "m"))).status_code == 201


async def test_a_revoked_and_an_expired_key_fail_everywhere(service: KeyedService) -> None:
    one = await service.caller("admin")
    records = await service.store.read()
    await service.store.write(records[-1].model_copy(update={"revoked_at": 1.0}))
    while (await one.get("/v1/stats")).status_code != 401:
        await asyncio.sleep(0.01)
    for method, path in await operations(service):
        if RULES[method, path] != OPEN:
            answer = await one.request(method, re.sub(r"\{.*?\}", "x", path))
            assert (answer.status_code, answer.json()["code"]) == (401, "key_invalid"), path
    client = await service.caller("read")
    expired = (await service.store.read())[-1].model_copy(update={"expires_at": 1.0})
    await service.store.write(expired)
    while (await client.get("/v1/stats")).status_code != 401:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer  x", "Basic eDp5", "Bearer cm_1_2", "Bearer " + "x" * 5000, "Bearer é"],
)
async def test_what_is_no_key_is_refused(service: KeyedService, authorization: str) -> None:
    answer = await service.anonymous.get(
        "/v1/stats", headers=[(b"Authorization", authorization.encode("latin-1"))]
    )
    assert (answer.status_code, answer.json()["code"]) == (401, "key_invalid")
