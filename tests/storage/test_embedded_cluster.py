"""The embedded Redis Cluster: it forms, outlives restarts and dead nodes, and refuses strangers."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import RedisCluster
from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from app.errors import ConfigurationError
from app.settings import Settings
from app.storage.embedded import EmbeddedNode, EmbeddedTopology, embedded_redis
from app.storage.embedded.node import LOOPBACK

NAMES = ["a", "b", "c", "d", "e", "f"]


def settings(folder: Path, replicas: int = 0) -> Settings:
    return Settings(data_dir=folder, embedded_topology="cluster", embedded_replicas=replicas)


@contextmanager
def client(topology: EmbeddedTopology) -> Iterator[RedisCluster]:
    cluster = RedisCluster.from_url(topology.master.tcp_url)
    try:
        yield cluster
    finally:
        cluster.close()


async def role(node: EmbeddedNode) -> str:
    async with Redis.from_url(node.url) as redis:
        return str((await redis.info("replication"))["role"])


async def kill(node: EmbeddedNode) -> None:
    async with Redis.from_url(node.url) as redis:
        # What is confirmed is written before the next command, not within a second or two.
        await redis.config_set("appendfsync", "always")
        os.kill(int((await redis.info("server"))["process_id"]), signal.SIGKILL)
    async with asyncio.timeout(40):
        while is_up(node):
            await asyncio.sleep(0.01)


def is_up(node: EmbeddedNode) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, node.port)) == 0


async def until_read(topology: EmbeddedTopology) -> None:
    """Until every name is read again."""
    async with asyncio.timeout(40):
        while True:
            await asyncio.sleep(0.1)
            try:
                with client(topology) as cluster:
                    assert [cluster.get(name) for name in NAMES] == [n.encode() for n in NAMES]
                    return
            except RedisError:
                continue


async def test_keeps_everything_over_a_killed_node_and_a_restart_on_other_ports(
    tmp_path: Path,
) -> None:
    async with embedded_redis(settings(tmp_path)) as topology:
        ports = {(node.port, node.bus_port) for node in topology.nodes}
        with client(topology) as cluster:
            for name in NAMES:
                cluster.set(name, name)
            assert len({key_slot(name.encode()) // 5461 for name in NAMES}) == 3
        await kill(topology.nodes[2])
        await until_read(topology)
    async with embedded_redis(settings(tmp_path)) as topology:
        assert ports.isdisjoint({(node.port, node.bus_port) for node in topology.nodes})
        with client(topology) as cluster:
            assert [cluster.get(name) for name in NAMES] == [n.encode() for n in NAMES]


async def test_replica_takes_over_and_roles_outlive_a_restart(tmp_path: Path) -> None:
    async with embedded_redis(settings(tmp_path, replicas=1)) as topology:
        roles = [await role(node) for node in topology.nodes]
        assert roles == ["master"] * 3 + ["slave"] * 3
        with client(topology) as cluster:
            for name in NAMES:
                cluster.set(name, name)
        async with Redis.from_url(topology.nodes[3].url) as replica:
            await replica.execute_command("CLUSTER FAILOVER", "TAKEOVER")  # type: ignore[no-untyped-call]
        async with asyncio.timeout(40):
            while await role(topology.nodes[0]) != "slave":
                await asyncio.sleep(0.05)
    # Fewer replicas are asked for, but one of the others is a master now.
    async with embedded_redis(settings(tmp_path)) as topology:
        roles = [await role(node) for node in topology.nodes]
        assert roles == ["slave", "master", "master", "master", "slave", "slave"]
        with client(topology) as cluster:
            assert [cluster.get(name) for name in NAMES] == [n.encode() for n in NAMES]


@pytest.mark.parametrize("first", ["cluster", "replicas"])
async def test_folder_of_the_other_topology_is_refused(tmp_path: Path, first: str) -> None:
    (tmp_path / ("cluster" if first == "cluster" else "node-1")).mkdir()
    other = "replicas" if first == "cluster" else "cluster"
    with pytest.raises(ConfigurationError, match="export it with"):
        async with embedded_redis(Settings(data_dir=tmp_path, embedded_topology=other)):
            pass
