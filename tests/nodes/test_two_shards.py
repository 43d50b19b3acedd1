"""One service whose agents are spread over two Redis: each key is read where it is."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
from redis.asyncio import Redis

from app import keys
from app.embedded import EmbeddedNode, embedded_redis
from app.nodes.addresses import Addresses
from app.nodes.connect import NodeFactory, Nodes
from app.nodes.engine_options import EngineOptions
from app.nodes.health import require_engine
from app.nodes.shard import Shard, Shards
from app.settings import Settings
from app.storage.agents import AgentDirectory, all_agents
from app.vectors import VectorFormat
from tests.conftest import DIMENSION, running_service

AGENTS = ("near-1", "near-2", "far-1", "far-2")
"""Those called `far` are on the second shard; so are the concepts and the agents' names."""


class TwoShards(Shards):
    """Places an agent by the beginning of its name."""

    def shard_of(self, key: str) -> Shard:
        first, second = self
        return first if "{near" in key else second


async def connect(nodes: list[EmbeddedNode], settings: Settings, stack: AsyncExitStack) -> Nodes:
    """Both Redis as the shards of one memory."""
    shards = TwoShards([Shard("first"), Shard("second")])
    options = EngineOptions(VectorFormat(settings.dimension))
    for shard, node in zip(shards, nodes, strict=True):
        master = NodeFactory(settings).make(shard.name, node.url, is_master=True)
        stack.push_async_callback(master.aclose)
        shard.set_roles(master)
        await require_engine(master.client, options)
    return Nodes(shards, settings, options, roles=None)


@pytest.fixture(scope="module")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[EmbeddedNode]]:
    """Two Redis that know nothing of each other."""
    async with AsyncExitStack() as stack:
        yield [
            (await stack.enter_async_context(embedded_redis(Settings(data_dir=folder)))).master
            for folder in (tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second"))
        ]


@pytest.fixture(scope="module")
async def api(nodes: list[EmbeddedNode]) -> AsyncIterator[httpx.AsyncClient]:
    """A service on both, with two memories of each agent: the nearer one a bear's."""

    async def to_both(settings: Settings, addresses: Addresses, stack: AsyncExitStack) -> Nodes:
        del addresses
        return await connect(nodes, settings, stack)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.service.connect", to_both)
        settings = Settings(redis_url=nodes[0].url, dimension=DIMENSION)
        async with running_service(settings) as client:
            for number, agent in enumerate(AGENTS):
                for regime, x in (("bull", 0.3 - 0.01 * number), ("bear", 0.9 - 0.01 * number)):
                    body = {
                        "id": regime,
                        "agent_id": agent,
                        "product_id": "p",
                        "regime": regime,
                        "action": "buy",
                        "reward": 1.0,
                        "state_vector": at(x),
                    }
                    stored = await client.post("/v1/episodic", json=body)
                    assert stored.status_code == 201, stored.text
            yield client


def at(x: float) -> list[float]:
    """A unit vector whose cosine distance to `at(1)` is 1 - x."""
    return [x, (1 - x * x) ** 0.5, *[0.0] * (DIMENSION - 2)]


async def test_each_agent_is_on_its_shard_alone(
    api: httpx.AsyncClient, nodes: list[EmbeddedNode]
) -> None:
    del api
    for node, names in zip(nodes, (AGENTS[:2], AGENTS[2:]), strict=True):
        async with Redis.from_url(node.url, protocol=2) as redis:
            there = {key.decode() async for key in redis.scan_iter("episodic_partition:*")}
            assert there == {keys.episodic_partition(name) for name in names}
            entered = set(await all_agents(redis))
            assert entered == (set() if node is nodes[0] else set(AGENTS))


async def test_names_that_were_lost_are_entered_again(
    api: httpx.AsyncClient, nodes: list[EmbeddedNode]
) -> None:
    """A promoted replica may lack the latest of them: whoever meets it enters all that it knows."""
    del api
    async with AsyncExitStack() as stack:
        settings = Settings(redis_url=nodes[0].url, dimension=DIMENSION)
        shards = (await connect(nodes, settings, stack)).shards
        _, second = shards
        await second.master.client.delete(keys.AGENTS)
        assert await AgentDirectory(shards).before_store(["near-1"]) == []
        assert set(await all_agents(second.master.client)) == set(AGENTS)


@pytest.mark.parametrize("top_k", [1, 3, 4, 6, 8])
@pytest.mark.parametrize("agent", ["near-1", "far-1"])
async def test_the_preferred_regime_comes_first_over_both(
    api: httpx.AsyncClient, agent: str, top_k: int
) -> None:
    body = {
        "agent_id": agent,
        "scope": "all",
        "state_vector": at(1.0),
        "regime": "bull",
        "regime_policy": "prefer",
        "top_k": top_k,
    }
    said = (await api.post("/v1/episodic/search", json=body)).json()
    expected = [(regime, name) for regime in ("bull", "bear") for name in AGENTS]
    assert [(m["id"], m["agent_id"]) for m in said["memories"]] == expected[:top_k]
    assert (said["exact"], said["partial"]) == (True, False)


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("scope", ["own", "others", "all"])
async def test_every_agent_is_estimated_for(api: httpx.AsyncClient, agent: str, scope: str) -> None:
    body = {"agent_id": agent, "scope": scope, "state_vector": at(0.123), "top_k": 9}
    said = await api.post("/v1/episodic/estimate", json=body)
    assert said.status_code == 200, said.text
    (action,) = said.json()["actions"]
    assert action["count"] == {"own": 2, "others": 6, "all": 8}[scope]


async def test_novelty_is_drawn_from_both_whoever_asks(api: httpx.AsyncClient) -> None:
    body = {"scope": "all", "state_vector": at(0.6), "top_k": 9}
    said = [await api.post("/v1/episodic/estimate", json={**body, "agent_id": a}) for a in AGENTS]
    novelties = [answer.json()["novelty"] for answer in said]
    assert novelties[0] is not None
    assert novelties == [novelties[0]] * len(AGENTS)


async def test_statistics_and_slow_paths_ask_both(api: httpx.AsyncClient) -> None:
    stats = (await api.get("/v1/stats")).json()
    assert {a["agent_id"]: a["memories"] for a in stats["agents"]} == dict.fromkeys(AGENTS, 2)
    dry = {"agent_id": "near-1", "dry_run": True}
    counted = (await api.post("/v1/episodic/delete", json=dry)).json()
    assert (counted["matched"], counted["deleted"]) == (2, 0)
    ready = (await api.get("/readyz")).json()
    assert {"first/master", "second/master"} <= ready["parts"].keys()
