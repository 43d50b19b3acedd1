"""The docs page: every route is there, and what it offers to try works."""

import re
from typing import Any

import httpx

from tests.conftest import DIMENSION


async def test_every_offered_example_works(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    tried = 0
    for path, operations in document["paths"].items():
        body = operations.get("post", {}).get("requestBody")
        if body is None:
            continue
        url = re.sub(r"\{.*?\}", "x", path)
        answer = await api.post(url, json=body["content"]["application/json"]["example"])
        tried += 1
        if "{" not in path:
            assert answer.is_success, (path, answer.text)
            assert answer.json().get("failed", 0) == 0
            assert '"code"' not in answer.text
    assert tried >= 6


async def test_the_examples_are_about_the_same_memories(api: httpx.AsyncClient) -> None:
    """Whoever clicks through the page finds what they stored, however often they click."""
    document = (await api.get("/openapi.json")).json()

    def body(path: str) -> Any:
        content = document["paths"][path]["post"]["requestBody"]["content"]
        return content["application/json"]["example"]

    def path_of(template: str, method: str) -> str:
        for parameter in document["paths"][template][method]["parameters"]:
            if parameter["in"] == "path":
                template = template.replace(f"{{{parameter['name']}}}", parameter["example"])
        return template

    for memory in ("episodic", "semantic"):
        for status in (201, 200):
            assert (
                await api.post(f"/v1/{memory}", json=body(f"/v1/{memory}"))
            ).status_code == status
        await api.post(f"/v1/{memory}/batch", json=body(f"/v1/{memory}/batch"))
        for question in ("search", "query"):
            path = f"/v1/{memory}/{question}"
            assert (await api.post(path, json=body(path))).json()["memories"], path
    one, concept = "/v1/episodic/{agent_id}/{id}", "/v1/semantic/{id}"
    assert (await api.get(path_of(one, "get"))).is_success
    assert (await api.get(path_of(concept, "get"))).is_success
    outcome = f"{one}/outcome"
    closed = await api.post(path_of(outcome, "post"), json=body(outcome))
    assert closed.json()["changed"] is True
    # Jobs get their ids from the service; the examples have the form of one.
    for job, code in (("evaluate", "evaluation_unknown"), ("distances", "metric_not_found")):
        template = f"/v1/{job}/{{id}}"
        for method in ("get", "delete"):
            answer = await api.request(method, path_of(template, method))
            assert (answer.status_code, answer.json()["code"]) == (404, code)
            assert path_of(template, method).rpartition("/")[2] in answer.json()["detail"]


async def test_root_and_icon_lead_somewhere(api: httpx.AsyncClient) -> None:
    for path in ("/", "/console", "/redoc", "/favicon.ico"):
        assert (await api.get(path, follow_redirects=True)).status_code == 200, path


async def test_references_lead_somewhere(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    names = re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(document))
    assert names
    assert set(names) <= set(document["components"]["schemas"])


async def test_docs_page_is_served(api: httpx.AsyncClient) -> None:
    page = await api.get("/docs")
    assert page.status_code == 200
    assert "/openapi.json" in page.text
    scripts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert scripts
    for script in scripts:
        assert (await api.get(script)).status_code == 200, "the page must work without internet"


async def test_request_id_is_echoed_or_made(api: httpx.AsyncClient) -> None:
    given = await api.get("/livez", headers={"X-Request-Id": "trade-42"})
    assert given.headers["x-request-id"] == "trade-42"
    made = await api.get("/livez", headers={"X-Request-Id": "line\tbreak" * 30})
    assert re.fullmatch(r"[0-9a-f]{32}", made.headers["x-request-id"])


async def test_problems_carry_the_request_id(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/episodic", content=b"{", headers={"X-Request-Id": "abc"})
    assert answer.json()["request_id"] == "abc"


async def test_body_over_the_limit_is_cut_off(api: httpx.AsyncClient, settings: Any) -> None:
    large = b"x" * (settings.max_body_bytes + 1)
    announced = await api.post("/v1/episodic", content=large)
    assert (announced.status_code, announced.json()["code"]) == (413, "body_too_large")

    async def chunks() -> Any:
        for start in range(0, len(large), 1 << 20):
            yield large[start : start + (1 << 20)]

    streamed = await api.post("/v1/episodic", content=chunks())
    assert (streamed.status_code, streamed.json()["code"]) == (413, "body_too_large")


async def test_health(api: httpx.AsyncClient) -> None:
    assert (await api.get("/livez")).json() == {"status": "ok"}
    ready = (await api.get("/readyz")).json()
    assert ready["status"] == "ok"
    assert ready["parts"]["master"]["role"] == "master"
    assert re.fullmatch(r"127\.0\.0\.1:\d+", ready["parts"]["master"]["address"])
    assert ready["parts"]["index"] == {
        "status": "ok",
        "layout": "per_agent",
        "dimension": DIMENSION,
        "indexes": 0,
    }
