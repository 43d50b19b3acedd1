"""What nobody foresaw is answered with a problem that has the request's id, and logged once."""

import logging
from collections.abc import Callable

import httpx
import pytest

from app.api.gate import Gate
from app.memory.episodic import EpisodicOperations


def breaks(*_: object, **__: object) -> object:
    raise ZeroDivisionError("a secret of somebody")


@pytest.mark.parametrize(
    "broken",
    [(EpisodicOperations, "search"), (EpisodicOperations, "fetch"), (Gate, "admit")],
    ids=["past the routing", "through FastAPI", "before both"],
)
async def test_unexpected_error(
    api: httpx.AsyncClient,
    vector: Callable[[int], list[float]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    broken: tuple[type, str],
) -> None:
    monkeypatch.setattr(*broken, breaks)
    headers = {"X-Request-Id": "r-1"}
    if broken[1] == "fetch":
        answer = await api.get("/v1/episodic/a/1", headers=headers)
    else:
        body = {"agent_id": "a", "state_vector": vector(1)}
        answer = await api.post("/v1/episodic/search", json=body, headers=headers)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["retryable"]) == ("internal", False)
    assert problem["request_id"] == "r-1"
    assert "secret" not in answer.text
    logged = [r for r in caplog.records if r.name == "app.api.error_handlers"]
    assert [(r.levelno, r.getMessage()) for r in logged] == [(logging.ERROR, "unexpected error")]
    monkeypatch.undo()
    assert (await api.get("/livez")).status_code == 200
