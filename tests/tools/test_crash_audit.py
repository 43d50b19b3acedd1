"""The end of a crash run fails when it should: each kind of harm is done to real nodes, once."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import orjson
import pytest
from redis import Redis

from app import keys
from tests.deploy.nodes import MASTER, REPLICAS
from tests.kit.service_process import NO_TLS
from tools.crash.audit import Losses, audit
from tools.crash.deployment import Deployment
from tools.crash.ledger import Asked
from tools.crash.load import Load
from tools.crash.memories import Memory
from tools.crash.verdict import Verdict, judge

AGENTS = 2
EACH = 5
ASIDE = "aside"
"""A key that belongs to nobody."""


@dataclass
class Scene:
    """A master, two replicas and two services, with some confirmed memories of two agents."""

    deployment: Deployment
    load: Load

    def memory(self, number: int, agent: int = 0) -> Memory:
        """One of them."""
        return self.load.ledgers[agent].memories[number]

    @contextmanager
    def client(self, name: str = MASTER) -> Iterator[Redis]:
        """A client behind the services' backs."""
        with self.deployment.nodes[name].client() as client:
            yield client

    async def verdict(self) -> Verdict:
        """What the end of a run would say now."""
        losses = Losses()
        await audit(self.deployment, self.load.ledgers, losses)
        return judge(self.load, losses, [], [], is_single_fault=True)


def key_of(memory: Memory) -> str:
    return keys.episodic_memory(memory.agent, str(memory.id))


@pytest.fixture(scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    deployment = Deployment("replicas", tmp_path_factory.mktemp("audit"))
    load = Load(
        [service.url for service in deployment.services],
        seed=1,
        shards=[""] * AGENTS,
        readers=0,
        levels=("replicated", "fsynced"),
    )
    try:
        deployment.start()
        for ledger in load.ledgers:
            for _ in range(EACH):
                await load._store(ledger, ledger.new())
        yield Scene(deployment, load)
    finally:
        await load.aclose()
        deployment.stop()


@pytest.fixture(autouse=True)
async def whole(scene: Scene) -> AsyncIterator[None]:
    """Nothing is wrong before a test, nor afterwards, when it has taken its harm back."""
    await _nothing_is_wrong(scene)
    yield
    await _nothing_is_wrong(scene)


async def _nothing_is_wrong(scene: Scene) -> None:
    verdict = await scene.verdict()
    assert verdict.broken == ()
    assert verdict.total("confirmed") == AGENTS * EACH
    assert counts(verdict) == (0, 0, 0)


def counts(verdict: Verdict) -> tuple[int, int, int]:
    """Lost, doubled, wrong."""
    return verdict.total("lost"), verdict.total("doubled"), verdict.total("wrong")


async def test_memory_that_is_gone_is_lost_at_its_level(scene: Scene) -> None:
    memory = scene.memory(2, agent=1)
    with scene.client() as client:
        client.rename(key_of(memory), ASIDE)
        verdict = await scene.verdict()
        client.rename(ASIDE, key_of(memory))
    assert [count.lost for count in verdict.levels.values()] == [0, 1]
    assert verdict.broken == ("1 of what was confirmed were lost: [('agent_1', 2)]",)


async def test_memory_that_one_node_lacks_is_lost(scene: Scene) -> None:
    memory = scene.memory(4)
    with scene.client(REPLICAS[1]) as client:
        client.config_set("replica-read-only", "no")
        client.rename(key_of(memory), ASIDE)
        verdict = await scene.verdict()
        client.rename(ASIDE, key_of(memory))
        client.config_set("replica-read-only", "yes")
    assert counts(verdict) == (1, 0, 0)


async def test_memory_that_a_search_does_not_find_is_lost(scene: Scene) -> None:
    memory = scene.memory(1)
    with scene.client() as client:
        client.hset(key_of(memory), "state_vector", (-memory.vector).tobytes())
        verdict = await scene.verdict()
        client.hset(key_of(memory), "state_vector", memory.vector.tobytes())
    assert counts(verdict) == (1, 0, 0)


async def test_memory_that_is_there_twice_is_doubled(scene: Scene) -> None:
    memory = scene.memory(2)
    twin = keys.episodic_memory(memory.agent, "twin")
    with scene.client() as client:
        client.copy(key_of(memory), twin)
        rewrite(client, twin, id="twin")
        verdict = await scene.verdict()
        client.unlink(twin)
    assert counts(verdict) == (0, 1, 0)
    assert verdict.broken == ("doubled: [('agent_0', 2)]",)


async def test_memory_of_another_agent_in_an_answer_is_wrong(scene: Scene) -> None:
    ledger, foreign = scene.load.ledgers[0], scene.memory(0, agent=1)
    stray = keys.episodic_memory(ledger.agent, "stray")
    question = Asked(ledger.agent, "strong", time.monotonic(), 0, foreign.vector)
    body = {
        "agent_id": ledger.agent,
        "state_vector": foreign.vector.tolist(),
        "consistency": "strong",
    }
    async with httpx.AsyncClient(
        base_url=scene.deployment.services[0].url, verify=NO_TLS
    ) as service:
        answer = (await service.post("/v1/episodic/search", json=body)).json()
        assert ledger.check_search(question, answer) == []
        with scene.client() as client:
            client.copy(key_of(foreign), stray)
            rewrite(client, stray, id="stray")
            answer = (await service.post("/v1/episodic/search", json=body)).json()
            client.unlink(stray)
    scene.load.findings += ledger.check_search(question, answer)
    verdict = await scene.verdict()
    scene.load.findings.clear()
    assert {finding.what for finding in ledger.check_search(question, answer)} >= {
        "another agent's memory"
    }
    assert counts(verdict)[:2] == (0, 0)
    assert verdict.total("wrong") > 0
    assert any("wrong answers" in broken for broken in verdict.broken)


def rewrite(client: Redis, key: str, **fields: str) -> None:
    """Change fields of a stored record."""
    record = orjson.loads(str(client.hget(key, "record")))
    client.hset(key, "record", orjson.dumps(record | fields).decode())
