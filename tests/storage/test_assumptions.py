"""The probes hold on this engine, see what is planted, and leave nothing behind."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from app.embedded import embedded_redis
from app.errors import StartError
from app.nodes.client import execute
from app.nodes.engine_options import ON_TIMEOUT, EngineOptions, value_on
from app.settings import Settings
from app.storage.assumptions import (
    AT_START,
    PROBES,
    clear_leftovers,
    look_at_engine,
    require_assumptions,
)
from app.storage.assumptions.answers import FlatIsExact, HostileTags
from app.storage.assumptions.limits import TimeoutIsAnError
from app.storage.assumptions.nodes import ReplicaSearches
from app.storage.assumptions.probe import INDEX_PREFIX, Observation, Probe, Scratch
from app.vectors import VectorFormat
from tests.commands.app_process import run_app
from tests.conftest import running_service
from tests.engine import setting

STORED_AS = VectorFormat(256)


@pytest.fixture
async def prepared(redis: Redis) -> Redis:
    """The run's Redis with the engine's settings, as a service leaves them."""
    await EngineOptions(STORED_AS).set_on(redis)
    return redis


async def what_is_there(redis: Redis) -> tuple[Any, Any]:
    return await execute(redis, "KEYS", "*"), await execute(redis, "FT._LIST")


async def test_every_assumption_holds_and_nothing_is_left(prepared: Redis) -> None:
    await prepared.set("mine", "1")
    before = await what_is_there(prepared)
    findings = await look_at_engine(prepared, STORED_AS)
    assert len(findings) == len(PROBES)
    assert [f.sentence for f in findings if f.verdict == "problem"] == []
    untried = [f.sentence.partition(":")[0] for f in findings if f.verdict == "note"]
    assert set(untried) <= {"replica", "timeout"}
    assert await what_is_there(prepared) == before


async def test_a_replica_answers_as_its_master(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, embedded_replicas=1)
    async with embedded_redis(settings) as topology:
        urls = [node.url for node in topology.nodes]
        async with (
            Redis.from_url(urls[0], protocol=2) as master,
            Redis.from_url(urls[1], protocol=2) as replica,
        ):
            while (await replica.info("replication"))["master_link_status"] != "up":
                await asyncio.sleep(0.02)
            (found,) = await look_at_engine(master, STORED_AS, [replica], [ReplicaSearches()])
    assert (found.verdict, found.sentence) == ("ok", "replica: 1 answer as their master does")


async def test_the_command_shows_each_assumption(settings: Settings, prepared: Redis) -> None:
    assert settings.redis_url is not None
    url = settings.redis_url.get_secret_value()
    status, said = run_app("check", "--engine", redis_url=url)
    assert status == 0, said
    for probe in PROBES:
        assert f"engine       {probe.name}: " in said, said
    status, said = run_app("check", redis_url=url)
    assert "flat is exact" not in said


@pytest.fixture
async def partial_answers(prepared: Redis) -> AsyncIterator[Redis]:
    """An engine that answers a search out of time with the part found so far."""
    await execute(prepared, *setting(ON_TIMEOUT, "return"))
    assert await value_on(prepared, ON_TIMEOUT) == "return"
    yield prepared
    await execute(prepared, *setting(ON_TIMEOUT, "fail"))


async def test_a_part_that_looks_whole_is_seen(partial_answers: Redis) -> None:
    (found,) = await look_at_engine(partial_answers, STORED_AS, probes=[TimeoutIsAnError()])
    assert found.sentence.startswith("timeout: ")
    assert "search-on-timeout is return" in found.sentence
    # A machine on which 4,000 rows take less than 1 ms could not tell.
    assert found.verdict in {"problem", "note"}
    assert found.verdict == "note" or "rows, no error. Assumed: " in found.sentence


class Approximate(Scratch):
    """One whose FLAT index is a poor HNSW one."""

    async def create(self, schema: Any, *, scan: bool = False) -> None:
        words = list(schema.create_command(scan=scan))
        at = words.index("FLAT")
        arguments = words[at + 2 : at + 2 + int(words[at + 1])]
        few = [*arguments[: arguments.index("BLOCK_SIZE")]]
        few += ["M", 2, "EF_CONSTRUCTION", 1, "EF_RUNTIME", 1]
        words[at : at + 2 + int(words[at + 1])] = ["HNSW", len(few), *few]
        self._indexes.append(schema.name)
        await execute(self.node, *words)


async def test_answers_that_are_not_exact_are_seen(prepared: Redis) -> None:
    place = Approximate(prepared, STORED_AS)
    try:
        seen = await FlatIsExact().look(place)
    finally:
        await place.clear()
    assert seen.holds is False, seen.sentence


async def test_tags_that_are_not_escaped_are_seen(
    prepared: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.storage.query_syntax._escaped", lambda value: value)
    (found,) = await look_at_engine(prepared, STORED_AS, probes=[HostileTags()])
    assert found.verdict == "problem"
    assert "x|y" in found.sentence


class Wrong(Probe):
    """An assumption that no engine meets."""

    name = "two and two"
    assumes = "it is five"
    otherwise = "it does not start"
    is_vital = True

    async def look(self, place: Scratch) -> Observation:
        return Observation(False, str(await place.ask("EVAL", "return 2 + 2", 0)))


async def test_an_engine_that_is_not_right_is_refused_with_the_sentence(prepared: Redis) -> None:
    with pytest.raises(
        StartError, match=r"two and two: 4\. Assumed: it is five\. What the service"
    ):
        await require_assumptions(prepared, STORED_AS, [Wrong()])
    await require_assumptions(prepared, STORED_AS, list(AT_START))
    assert {type(probe).__name__ for probe in AT_START} == {
        *("FlatIsExact", "OrderAndLimit", "HostileTags", "EmptyRanges", "FullMemory"),
        *("InfoIsRead", "AliasMoves", "AnswersWhereAsked"),
    }


async def test_a_full_redis_is_no_reason_and_searches_on(
    settings: Settings, redis: Redis, vector: Any
) -> None:
    question = {"agent_id": "a", "state_vector": vector(1)}
    experience = question | {"product_id": "p", "regime": "r"}
    async with running_service(settings) as api:
        assert (await api.post("/v1/episodic", json=experience)).status_code == 201
    before = await what_is_there(redis)
    await redis.config_set("maxmemory", "1mb")
    try:
        async with running_service(settings) as api:
            found = await api.post("/v1/episodic/search", json=question)
            # Whole, or an error: never an empty list.
            assert found.status_code == 507 or found.json()["count"] == 1, found.text
            assert (await api.post("/v1/episodic", json=experience)).status_code == 507
    finally:
        await redis.config_set("maxmemory", 0)
    assert await what_is_there(redis) == before


async def test_what_a_probe_left_that_was_cut_off_is_dropped(prepared: Redis) -> None:
    names = [f"{INDEX_PREFIX}1:cut-off:flat", f"{INDEX_PREFIX}99999999999:new:flat"]
    for name in names:
        await execute(prepared, "FT.CREATE", name, "PREFIX", 1, f"{name}:", "SCHEMA", "a", "TAG")
        await prepared.hset(f"{name}:0", "a", "b")
    await clear_leftovers(prepared)
    keys, indexes = await what_is_there(prepared)
    assert (keys, indexes) == ([f"{names[1]}:0".encode()], [names[1].encode()])
    await execute(prepared, "FT.DROPINDEX", names[1])
