"""A memory in three groups: each agent in one of them, questions about many answered by all."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from app import keys
from app.embedded import EmbeddedTopology, embedded_redis
from app.errors import ConfigurationError
from app.nodes.addresses import parse_groups
from app.nodes.client import execute
from app.nodes.groups.placement import GroupShards, all_agents
from app.nodes.groups.room import roomiest
from app.nodes.shard import Shard
from app.settings import Settings
from tests.auth.test_lasting_revocation import PASSWORD, restrict
from tests.commands.app_process import run_app_apart
from tests.conftest import DIMENSION, running_service
from tests.kit.group_set import group_set, settings_of

AGENTS = tuple(f"agent-{number}" for number in range(12))


@pytest.fixture(scope="module")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedTopology]:
    """Three Redis that know nothing of each other."""
    async with group_set(tmp_path_factory.mktemp("groups")) as started:
        yield started


@pytest.fixture(scope="module")
async def api(nodes: EmbeddedTopology) -> AsyncIterator[httpx.AsyncClient]:
    """A service with two memories of each agent: the nearer one a bear's."""
    async with running_service(settings_of(nodes)) as client:
        for number, agent in enumerate(AGENTS):
            for regime, x in (("bull", 0.3 - 0.01 * number), ("bear", 0.9 - 0.01 * number)):
                stored = await client.post("/v1/episodic", json=memory(agent, regime, x))
                assert stored.status_code == 201, stored.text
        yield client


def memory(agent: str, regime: str, x: float) -> dict[str, object]:
    return {
        "id": regime,
        "agent_id": agent,
        "product_id": "p",
        "regime": regime,
        "action": "buy",
        "reward": 1.0,
        "state_vector": at(x),
    }


def at(x: float) -> list[float]:
    """A unit vector whose cosine distance to `at(1)` is 1 - x."""
    return [x, (1 - x * x) ** 0.5, *[0.0] * (DIMENSION - 2)]


async def agents_of(nodes: EmbeddedTopology) -> dict[str, set[str]]:
    """The agents of each group, by what is in its Redis."""
    found = {}
    for name, group in nodes.groups.items():
        async with Redis.from_url(group.master.url, protocol=2) as redis:
            there = {key.decode() async for key in redis.scan_iter("episodic_partition:*")}
            found[name] = set(await all_agents(redis))
            assert there == {keys.episodic_partition(agent) for agent in found[name]}
    return found


async def test_each_agent_is_in_one_group(api: httpx.AsyncClient, nodes: EmbeddedTopology) -> None:
    del api
    found = await agents_of(nodes)
    assert sorted(agent for some in found.values() for agent in some) == sorted(AGENTS)
    assert {len(some) for some in found.values()} <= {3, 4, 5}
    async with Redis.from_url(nodes.master.url, protocol=2) as home:
        placed = await execute(home, "HGETALL", keys.PLACEMENTS)
    places = {agent.decode(): group.decode() for agent, group in placed.items()}
    # Places of agents that other tests have emptied stay.
    assert {agent: places[agent] for agent in AGENTS} == {
        agent: group for group, some in found.items() for agent in some
    }


@pytest.mark.parametrize("groups", [3, 5, 8])
def test_a_thousand_agents_are_spread_within_a_tenth_of_even(groups: int) -> None:
    names = [f"g{number}" for number in range(groups)]
    for seed in range(5):
        shards = GroupShards(
            {name: Shard(name) for name in names}, names[0], dict.fromkeys(names, 1.0)
        )
        for number in range(1000):
            (placed,) = shards._proposals([f"{seed}-{number}"]).items()
            shards._enter(*placed)
        even = 1000 / groups
        assert all(abs(count - even) <= even / 10 for count in shards.counts().values())


def test_a_group_of_twice_the_weight_gets_twice_the_agents() -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 1.0}
    shards = GroupShards({name: Shard(name) for name in weights}, "a", weights)
    for agent_id, group in shards._proposals([f"agent-{n}" for n in range(1000)]).items():
        shards._enter(agent_id, group)
    for name, count in shards.counts().items():
        assert abs(count - 250 * weights[name]) <= 25 * weights[name]


def test_new_agents_go_where_there_is_most_room() -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 1.0}
    assert roomiest(weights, {"a": 0.95, "b": 0.2, "c": 0.0}) == {"b": 2.0, "c": 1.0}
    assert roomiest(weights, {"a": 0.95, "c": 1.0}) == {"b": 2.0}, "nothing is known of b"
    assert roomiest(weights, {"a": 1.0, "b": 0.96, "c": 0.99}) == {"b": 2.0}


@pytest.mark.parametrize("top_k", [1, 11, 12, 18, 24])
async def test_the_preferred_regime_comes_first_over_all(
    api: httpx.AsyncClient, top_k: int
) -> None:
    body = {
        "agent_id": AGENTS[0],
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
    assert "unanswered_groups" not in said


@pytest.mark.parametrize("scope", ["own", "others", "all"])
async def test_every_agent_is_estimated_for(api: httpx.AsyncClient, scope: str) -> None:
    novelties = set()
    for agent in AGENTS[:3]:
        body = {"agent_id": agent, "scope": scope, "state_vector": at(0.123), "top_k": 30}
        said = await api.post("/v1/episodic/estimate", json=body)
        assert said.status_code == 200, said.text
        (action,) = said.json()["actions"]
        assert action["count"] == {"own": 2, "others": 22, "all": 24}[scope]
        novelties.add(said.json()["novelty"])
    assert scope != "all" or len(novelties) == 1


async def test_an_answer_explains_its_group(
    api: httpx.AsyncClient, nodes: EmbeddedTopology
) -> None:
    group = next(n for n, some in (await agents_of(nodes)).items() if AGENTS[5] in some)
    body = {"agent_id": AGENTS[5], "state_vector": at(1.0), "explain": True}
    said = (await api.post("/v1/episodic/search", json=body)).json()
    assert said["explain"]["group"] == group
    assert said["served_by"] == f"{group}/master"


async def test_statistics_readiness_and_metrics_name_the_groups(
    api: httpx.AsyncClient, nodes: EmbeddedTopology
) -> None:
    stats = (await api.get("/v1/stats")).json()
    assert {a["agent_id"]: a["memories"] for a in stats["agents"]} == dict.fromkeys(AGENTS, 2)
    assert (stats["partial"], stats["unanswered_groups"]) == (False, [])
    ready = (await api.get("/readyz")).json()
    assert {f"{name}/master" for name in nodes.groups} <= ready["parts"].keys()
    assert ready["status"] == "ok"


async def test_another_service_finds_what_is_new(
    api: httpx.AsyncClient, nodes: EmbeddedTopology
) -> None:
    """It learns an agent's place from the home when it is first asked about it."""
    async with running_service(settings_of(nodes)) as other:
        for number in range(6):
            name = f"late-{number}"
            stored = await api.post("/v1/episodic", json=memory(name, "bull", 0.5))
            assert stored.status_code == 201, stored.text
            assert (await other.get(f"/v1/episodic/{name}/bull")).status_code == 200
        for number in range(6):
            gone = await other.delete(f"/v1/episodic/late-{number}/bull")
            assert gone.status_code == 204
    found = await agents_of(nodes)
    assert sorted(agent for some in found.values() for agent in some) == sorted(AGENTS)


async def test_places_that_the_home_lost_are_entered_again(
    api: httpx.AsyncClient, nodes: EmbeddedTopology
) -> None:
    del api
    async with Redis.from_url(nodes.master.url, protocol=2) as home:
        before = await home.hgetall(keys.PLACEMENTS)
        await home.hdel(keys.PLACEMENTS, *AGENTS[:6])
        async with running_service(settings_of(nodes)):
            pass
        assert (await home.hgetall(keys.PLACEMENTS)).items() >= {
            agent.encode(): before[agent.encode()] for agent in AGENTS
        }.items()


async def test_the_keys_command_works_with_the_rights_of_its_user(
    api: httpx.AsyncClient, nodes: EmbeddedTopology
) -> None:
    del api
    for node in nodes.nodes:
        await restrict(node)
    user = f"redis://keys-admin:{PASSWORD}@127.0.0.1"
    urls = (f"{name}={user}:{group.master.port}" for name, group in nodes.groups.items())
    status, _, trouble = run_app_apart("keys", "list", groups=";".join(urls))
    assert status == 0, trouble


async def start_is_refused(
    settings: Settings, match: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    with pytest.raises(RuntimeError):
        async with running_service(settings):
            pass
    assert match in caplog.text


async def test_a_wrong_missing_or_exchanged_group_is_refused(
    api: httpx.AsyncClient,
    nodes: EmbeddedTopology,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    del api
    urls = {name: group.master.url for name, group in nodes.groups.items()}
    one, two, three = urls

    def listed(**chosen: str) -> Settings:
        return Settings(
            groups=";".join(f"{name}={url}" for name, url in chosen.items()), dimension=DIMENSION
        )

    exchanged = Settings(
        groups=f"{one}={urls[one]};{two}={urls[three]};{three}={urls[two]}", dimension=DIMENSION
    )
    await start_is_refused(exchanged, "exchange the addresses", caplog)
    missing = Settings(groups=f"{one}={urls[one]};{two}={urls[two]}", dimension=DIMENSION)
    await start_is_refused(missing, f"lacks group {three}", caplog)
    renamed = Settings(
        groups=f"{one}={urls[one]};{two}={urls[two]};x={urls[three]}", dimension=DIMENSION
    )
    await start_is_refused(renamed, f"is group {three}: correct its name", caplog)
    async with Redis.from_url(urls[one], protocol=2) as home:
        await execute(home, "RENAME", keys.GROUPS, "away")
        try:
            await start_is_refused(settings_of(nodes), "the home has lost data", caplog)
        finally:
            await execute(home, "RENAME", "away", keys.GROUPS)
    alone = Settings(redis_url=urls[two], dimension=DIMENSION)
    await start_is_refused(alone, "set MEMORY_GROUPS", caplog)
    async with embedded_redis(Settings(data_dir=tmp_path)) as empty:
        lost = Settings(
            groups=f"{one}={urls[one]};{two}={urls[two]};{three}={empty.master.url}",
            dimension=DIMENSION,
        )
        await start_is_refused(lost, "has lost its mark", caplog)
        more = Settings(
            groups=f"{nodes.addresses.as_settings()['GROUPS'][:-1]}, "
            f'{{"name": "new", "urls": ["{empty.master.url}"]}}]',
            dimension=DIMENSION,
        )
        await start_is_refused(more, "Group new in MEMORY_GROUPS is not part", caplog)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "names no group"),
        ("a", "name=redis://"),
        ("a=http://x", "does not start with redis://"),
        ("a=redis://x;a=redis://y", "same name"),
        ("a*0=redis://x", "weight"),
        ("a{=redis://x", "name must be"),
        ('[{"name": "a"}]', "either urls or sentinels"),
        ('[{"name": "a", "urls": ["redis://x"], "wight": 1}]', "unknown field"),
        ("[1]", "JSON object"),
        ("[", "begins as JSON"),
    ],
)
def test_groups_that_cannot_be_read(text: str, what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        parse_groups(text)


def test_groups_are_read_as_text_and_as_json() -> None:
    text = "a=redis://h:1,redis://i:2; b*2=main@redis://s:1,redis://t:2"
    first, second = parse_groups(text)
    assert first.addresses.nodes == ("redis://h:1", "redis://i:2")
    assert (second.addresses.master_name, second.weight) == ("main", 2.0)
    assert second.addresses.sentinels == ("redis://s:1", "redis://t:2")
