from collections.abc import AsyncIterator

import httpx
import numpy as np
import pytest

from app.settings import Settings
from demo.filling import store
from demo.market import DIMENSION, market_windows
from demo.plan import Plan, plan
from demo.recall import recall
from demo.service import NoServiceError, others_agents
from tests.conftest import running_service
from tests.demo.bar import Bar
from tests.demo.synthetic import random_market


@pytest.fixture
def todo() -> Plan:
    """About a thousand moments of 2002 and questions of 2003."""
    return plan(market_windows(random_market(days=960, products=5)), years=(2001, 2002))


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service for vectors of the demo's dimension."""
    sized = settings.model_copy(update={"dimension": DIMENSION})
    async with running_service(sized) as opened:
        yield opened


async def test_a_second_run_doubles_nothing_and_the_nearest_are_the_nearest(
    client: httpx.AsyncClient, todo: Plan
) -> None:
    count = len(todo.stored)
    bar = Bar()
    report, ended = await store(client, todo.stored, batch=100, in_flight=4, bar=bar)
    assert (report.created, report.unchanged, report.failed, ended) == (count, 0, 0, None)
    assert bar.moved == count > 900
    report, ended = await store(client, todo.stored, batch=1000, in_flight=2, bar=Bar())
    assert (report.created, report.unchanged, report.failed, ended) == (0, count, 0, None)

    until = float(todo.stored.timestamps[-1])
    units = todo.stored.vectors / np.linalg.norm(todo.stored.vectors, axis=1, keepdims=True)
    for row in todo.questions:
        found = await recall(client, todo.windows, row, until=until, count=3)
        question = todo.windows.vectors[row]
        distances = 1 - units @ (question / np.linalg.norm(question))
        nearest = int(np.argmin(distances))
        assert found.moments[0]["distance"] == pytest.approx(distances[nearest], abs=1e-5)
        assert found.moments[0]["timestamp"] == todo.stored.timestamps[nearest]
        assert len(found.moments) == 3
        assert found.exact
        assert not found.partial


async def test_others_memories_are_noticed(client: httpx.AsyncClient) -> None:
    body = {"product_id": "p", "regime": "r", "state_vector": [1.0] * DIMENSION}
    for agent in ("mine", "other"):
        assert (await client.post("/v1/episodic", json=body | {"agent_id": agent})).is_success
    assert await others_agents(client, {"mine"}, DIMENSION) == ["other"]
    with pytest.raises(NoServiceError, match="MEMORY_DIMENSION=7"):
        await others_agents(client, set(), 7)


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (200, {}, "not the memory service"),
        (404, {}, "not the memory service"),
        (403, {"type": "urn:coinswarm:problem:forbidden"}, None),
        (401, {"type": "urn:coinswarm:problem:unauthorized"}, "set MEMORY_API_KEY"),
    ],
)
async def test_another_program_is_noticed_and_a_refusal_is_not_taken_for_empty(
    status: int, body: dict[str, str], problem: str | None
) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json=body)

    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(base_url="http://other", transport=transport) as client:
        if problem is None:
            assert await others_agents(client, set(), DIMENSION) is None
        else:
            with pytest.raises(NoServiceError, match=problem):
                await others_agents(client, set(), DIMENSION)
