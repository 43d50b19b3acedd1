"""Evaluations over HTTP, by the command, and who may see them."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from scipy.stats import spearmanr

from app.commands.evaluate import COMMAND
from app.contract.evaluation import Evaluate
from app.errors import StorageError
from app.evaluate.kept import KeptJobs
from app.settings import Settings
from tests.auth.keyed_service import keyed_service, with_keys
from tests.commands.app_process import run_app
from tests.conftest import running_service
from tests.memory.estimates.planted import HORIZON, product

DAY = 86_400.0
T0 = 1_500_000_000.0
DIMENSION = 16
DAYS = 600


def moments(seed: int, snr: float, days: range, agent_id: str = "a") -> list[dict[str, Any]]:
    market = product(seed, days=DAYS, dimension=DIMENSION, snr=snr)
    return [
        {
            "id": f"d{day}",
            "agent_id": agent_id,
            "product_id": "P",
            "regime": "r",
            "action": "hold5",
            "state_vector": market.states[day].tolist(),
            "reward": float(market.reward[day]),
            "timestamp": T0 + day * DAY,
            "outcome_at": T0 + (day + HORIZON) * DAY,
        }
        for day in days
    ]


async def store(api: httpx.AsyncClient, memories: list[dict[str, Any]]) -> None:
    answer = await api.post("/v1/episodic/batch", json={"memories": memories})
    assert answer.json()["failed"] == 0, answer.text


async def finished(api: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    started = await api.post("/v1/evaluate", json=asked)
    assert started.status_code == 202, started.text
    name = started.json()["id"]
    while True:
        found: dict[str, Any] = (await api.get(f"/v1/evaluate/{name}")).json()
        if found["status"] not in {"queued", "running"}:
            return found
        await asyncio.sleep(0.05)


@pytest.fixture
async def filled(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A service whose agent lived through a market with a strong signal."""
    async with running_service(settings.model_copy(update={"dimension": DIMENSION})) as api:
        await store(api, moments(3, 1.0, range(500)))
        yield api


async def test_a_memory_that_helps_and_what_came_later(
    filled: httpx.AsyncClient, settings: Settings, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"agent_id": "a", "as_of": T0 + 480 * DAY, "top_k": 20, "seed": 4}
    found = await finished(filled, **asked)
    assert found["status"] == "done", found
    result = found["result"]
    assert result["verdict"] == "helps"
    assert (result["memories"], result["eligible"]) == (476, 96)
    assert 80 <= result["questions"] <= result["asked"] == 96
    decisive = result["findings"][0]
    assert decisive["value"] > 0.3
    assert decisive["low"] <= decisive["effect"] <= decisive["high"]
    assert len(decisive["placebos"]) == 99
    # Nothing that comes later changes what was found as of that moment.
    await store(filled, moments(9, 0.0, range(500, 600)))
    for day in (485, 499):
        await filled.patch(f"/v1/episodic/a/d{day}", json={"priority": 2.0})
    again = await finished(filled, **asked)
    assert again["result"] == result
    few = await finished(filled, agent_id="a", until=T0 + 60 * DAY)
    assert few["result"]["verdict"] == "unproven"
    assert few["result"]["findings"] == []
    nobody = await finished(filled, agent_id="nobody")
    assert nobody["result"]["memories"] == 0
    report = tmp_path / "report.html"
    options: tuple[object, ...] = ("--as-of", asked["as_of"], "--top-k", 20, "--seed", 4)
    options = (*options, "--distinct", "outcome", "--statistic", "rank_correlation")
    assert settings.redis_url is not None
    chosen = {"redis_url": settings.redis_url.get_secret_value(), "dimension": DIMENSION}
    status, said = await asyncio.to_thread(run_app, "evaluate", "a", *options, **chosen)
    assert status == 0, said
    assert "Verdict: helps." in said
    assert f"| rank_correlation | {decisive['value']:.4g} |" in said
    options = (*options, "--output", report)
    status, said = await asyncio.to_thread(run_app, "evaluate", "a", *options, **chosen)
    assert status == 0, said
    assert report.read_text().count("<svg") == 4


def test_the_command_takes_what_the_route_takes() -> None:
    parser = argparse.ArgumentParser()
    COMMAND.add_arguments(parser)
    taken = vars(parser.parse_args(["a"]))
    defaults = {
        name: field.default for name, field in Evaluate.model_fields.items() if name != "agent_id"
    }
    assert {name: value for name, value in taken.items() if name in defaults} == defaults


async def test_questions_ask_what_an_estimate_would_have_said(filled: httpx.AsyncClient) -> None:
    """One forecast after the other, by the public route, gives the same correlation."""
    # Another agent's memories have the same ids. Its action would have another code by itself.
    other = moments(5, 1.0, range(200, 500, 2), "b")
    await store(filled, [{**other[0], "id": "first", "action": "wait"}, *other])
    for asked, known, memories in (
        ({"agent_id": "a"}, 500, moments(3, 1.0, range(380, 500, HORIZON))),
        ({"agent_id": "b", "scope": "all"}, 651, moments(5, 1.0, range(380, 500, 6), "b")),
        ({"agent_id": "b", "scope": "others"}, 500, moments(5, 1.0, range(380, 500, 6), "b")),
    ):
        found = await finished(filled, **asked, top_k=20, since=T0 + 380 * DAY)
        values, came = [], []
        for memory in memories:
            body = {"state_vector": memory["state_vector"], "as_of": memory["timestamp"]}
            answer = await filled.post("/v1/episodic/estimate", json={**asked, **body, "top_k": 20})
            (told,) = [one for one in answer.json()["actions"] if one["action"] == "hold5"]
            values.append(told["value"])
            came.append(memory["reward"])
        assert (found["result"]["memories"], found["result"]["questions"]) == (known, len(values))
        expected = spearmanr(values, came).statistic
        assert found["result"]["findings"][0]["value"] == pytest.approx(expected, abs=1e-9)


async def test_deleting_cancels(filled: httpx.AsyncClient) -> None:
    started = (await filled.post("/v1/evaluate", json={"agent_id": "a", "placebos": 999})).json()
    assert (started["status"], started["result"]) == ("queued", None)
    answer = await filled.delete(f"/v1/evaluate/{started['id']}")
    assert answer.json() == {"id": started["id"], "deleted": True}
    await asyncio.sleep(1.2)  # more than one report of progress, none of which may bring it back
    gone = await filled.get(f"/v1/evaluate/{started['id']}")
    assert (gone.status_code, gone.json()["code"]) == (404, "evaluation_unknown")
    wrong = await filled.post("/v1/evaluate", json={"agent_id": "a", "placebos": 5})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "placebos")


async def test_a_key_evaluates_its_own_agent(settings: Settings, tmp_path: Path) -> None:
    async with keyed_service(with_keys(settings, tmp_path)) as service:
        one = await service.caller("read", ["one"])
        two = await service.caller("admin", ["two"])
        other = await one.post("/v1/evaluate", json={"agent_id": "two"})
        assert (other.status_code, other.json()["code"]) == (403, "agent_forbidden")
        found = await finished(one, agent_id="one")
        path = f"/v1/evaluate/{found['id']}"
        for method in ("GET", "DELETE"):
            hidden = await two.request(method, path)
            assert (hidden.status_code, hidden.json()["code"]) == (404, "evaluation_unknown")
        assert (await one.get(path)).json()["result"]["verdict"] == "unproven"
        assert (await one.delete(path)).status_code == 200
        foreign = await one.post("/v1/evaluate", json={"agent_id": "one", "scope": "all"})
        assert (foreign.status_code, foreign.json()["code"]) == (403, "scope_forbidden")
        sharing = await service.caller("read", ["one"], cross_agent=True)
        wide = await finished(sharing, agent_id="one", scope="all")
        assert wide["status"] == "done"
        hidden = await one.get(f"/v1/evaluate/{wide['id']}")
        assert (hidden.status_code, hidden.json()["code"]) == (404, "evaluation_unknown")
        past = await service.caller("read", ["one"], require_as_of=True)
        blind = await past.post("/v1/evaluate", json={"agent_id": "one"})
        assert (blind.status_code, blind.json()["field"]) == (422, "as_of")


async def test_redis_away_for_a_moment_ends_no_job(
    filled: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = KeptJobs.update
    refused: list[str] = []

    async def twice_away(self: Any, job: Any) -> bool:
        if len(refused) < 2:
            refused.append(job.status)
            raise StorageError("away")
        return await update(self, job)

    monkeypatch.setattr("app.evaluate.kept.KeptJobs.update", twice_away)
    found = await finished(filled, agent_id="a", until=T0 + 200 * DAY, placebos=19)
    assert (found["status"], len(refused)) == ("done", 2)


async def test_a_fault_is_told(filled: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fault(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("app.evaluate.questions.NeighbourSearch.ask", fault)
    found = await finished(filled, agent_id="a")
    assert (found["status"], found["problem"]["code"]) == ("failed", "internal")


async def test_nobody_waits(filled: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unwanted(*_: object) -> bool:
        return False

    monkeypatch.setattr("app.evaluate.kept.KeptJobs.is_wanted", unwanted)
    found = await finished(filled, agent_id="a", placebos=999)
    assert (found["status"], found["result"]) == ("cancelled", None)
