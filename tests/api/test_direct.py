"""Searches and estimates skip FastAPI's routing; nothing promised of a request is skipped."""

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY

from app.api.app import create_app
from app.api.direct import DirectRoutes
from app.settings import Settings

DIRECT = {
    "/v1/episodic": "state_vector",
    "/v1/episodic/sample": None,
    "/v1/episodic/search": "state_vector",
    "/v1/episodic/estimate": "state_vector",
    "/v1/semantic/search": "concept_vector",
}


def test_they_stand_in_the_document_and_are_served_directly(settings: Settings) -> None:
    layer: object = create_app(settings)
    while not isinstance(layer, DirectRoutes):
        layer = getattr(layer, "app", None) or vars(layer)["_app"]
    assert set(layer._routes) == set(DIRECT)
    api = vars(layer._app)["_app"]
    assert isinstance(api, FastAPI)
    for path in DIRECT:
        operation = api.openapi()["paths"][path]["post"]
        assert {"200", "413", "422", "503", "504"} <= set(operation["responses"])


@pytest.mark.parametrize("path", DIRECT)
async def test_other_methods_and_empty_bodies_get_their_problem(
    api: httpx.AsyncClient, path: str
) -> None:
    wrong_method = await api.get(path)
    # GET /v1/semantic/{id} is another route: there "search" is an id.
    assert wrong_method.status_code in {404, 405}
    for body in (b"", b"{", b"[]"):
        answer = await api.post(path, content=body, headers={"X-Request-Id": "r-1"})
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["request_id"] == answer.headers["x-request-id"] == "r-1"


@pytest.mark.parametrize("path", DIRECT)
async def test_they_are_counted_under_their_route(
    api: httpx.AsyncClient, vector: Callable[[int], list[float]], path: str
) -> None:
    def counted() -> float:
        labels = {"handler": path, "method": "POST", "status": "2xx"}
        return REGISTRY.get_sample_value("http_requests_total", labels) or 0.0

    before = counted()
    body: dict[str, object] = {"agent_id": "a"} if "episodic" in path else {}
    field = DIRECT[path]
    body |= {"size": 1} if field is None else {field: vector(1)}
    body |= {"product_id": "p", "regime": "r"} if path == "/v1/episodic" else {}
    answer = await api.post(path, json=body)
    assert answer.status_code == (201 if path == "/v1/episodic" else 200), answer.text
    assert answer.headers["content-type"] == "application/json"
    assert counted() == before + 1


async def test_a_store_with_headers_goes_by_its_route(
    api: httpx.AsyncClient, vector: Callable[[int], list[float]]
) -> None:
    body = {"agent_id": "a", "product_id": "p", "regime": "r", "state_vector": vector(1)}
    once, again = [
        await api.post("/v1/episodic", json=body, headers={"Idempotency-Key": "k"})
        for _ in range(2)
    ]
    assert (once.status_code, again.status_code) == (201, 200)
    assert once.json()["id"] == again.json()["id"]
    refused = await api.post("/v1/episodic", json=body, headers={"X-Durability": "replicated"})
    assert refused.json()["code"] == "durability_not_reached", "there is no replica"
    assert (await api.post("/v1/episodic", json=body)).json()["durability"] == "memory"


async def test_body_in_pieces_and_broken_off(
    api: httpx.AsyncClient, vector: Callable[[int], list[float]]
) -> None:
    body = json.dumps({"agent_id": "a", "state_vector": vector(1)}).encode()

    async def pieces() -> object:
        for start in range(0, len(body), 50):
            yield body[start : start + 50]
            await asyncio.sleep(0.001)

    answer = await api.post("/v1/episodic/search", content=pieces())  # type: ignore[arg-type]
    assert answer.status_code == 200
    assert answer.json()["count"] == 0
