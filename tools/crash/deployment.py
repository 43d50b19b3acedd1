"""What is crashed: the deployment's own nodes (redis/*.conf) and two services on them."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import httpx
import orjson
from redis.exceptions import RedisError

from app import keys
from app.embedded.node import free_port
from tests.deploy.nodes import MASTER, PASSWORD, REPLICAS, Node, command, write_files
from tests.kit.service_process import NO_TLS
from tools.crash.memories import DIMENSION, Memory
from tools.crash.network import LOOPBACK_NETWORK, Network
from tools.crash.probe import PROBE_TIMEOUT_S, probe
from tools.crash.service import Service

Topology = Literal["single", "replicas", "sentinel"]
TOPOLOGIES: tuple[Topology, ...] = ("single", "replicas", "sentinel")
SENTINELS = ("sentinel-1", "sentinel-2", "sentinel-3")
SERVICES = ("service-1", "service-2")
WHOLE_TIMEOUT_S = 90.0
MASTER_NAME = "coinswarm"
DOWN_AFTER_MS = 3000


class NotWhole(Exception):
    """Something did not recover by itself; the message says what."""


def node_names(topology: Topology) -> tuple[str, ...]:
    """Return the names of a topology's nodes, the first master first."""
    return (MASTER,) if topology == "single" else (MASTER, *REPLICAS)


def parts_of(topology: Topology) -> tuple[str, ...]:
    """Return the name of everything that runs."""
    sentinels = SENTINELS if topology == "sentinel" else ()
    return (*node_names(topology), *sentinels, *SERVICES)


class Deployment:
    """The nodes, the Sentinels and the services. Everything here blocks: call it in a thread."""

    def __init__(
        self, topology: Topology, folder: Path, network: Network = LOOPBACK_NETWORK
    ) -> None:
        self.topology = topology
        names = node_names(topology)
        self.nodes = {name: self._node(name, folder, network) for name in names}
        self.sentinels = {
            name: self._node(name, folder, network)
            for name in (SENTINELS if topology == "sentinel" else ())
        }
        if topology == "sentinel":
            self._watch()
        first = self.nodes[names[0]]
        for node in (*self.nodes.values(), *self.sentinels.values()):
            write_files(node, (first.host, first.port))
            _quickly(node)
        self.services = [
            Service(
                name=name,
                folder=folder / name,
                port=free_port(),
                settings=self._settings(),
                host=network.host_of(name),
                runner=network.runner_of(name),
            )
            for name in SERVICES
        ]
        self.network = network

    def _node(self, name: str, folder: Path, network: Network) -> Node:
        node = Node(name, folder / name, free_port())
        node.host, node.runner = network.host_of(name), network.runner_of(name)
        return node

    def _watch(self) -> None:
        """Have the nodes ask the Sentinels for their roles."""
        urls = ",".join(node.url.removesuffix("/0") for node in self.sentinels.values())
        for node in self.nodes.values():
            node.environment = {
                "REDIS_MIN_REPLICAS_TO_WRITE": "1",
                "REDIS_SENTINEL_URLS": urls,
                "REDIS_NODE_NAME": node.host,
                "REDIS_ROLE_WAIT_S": "15",
            }

    def _settings(self) -> dict[str, str]:
        if self.topology == "sentinel":
            urls = [node.url.removesuffix("/0") for node in self.sentinels.values()]
            found = {"sentinel_urls": ",".join(urls), "redis_password": PASSWORD}
        else:
            urls = [node.url for node in self.nodes.values()]
            found = {"redis_url": urls[0]}
            if urls[1:]:
                found["replica_urls"] = ",".join(urls[1:])
        return {"dimension": str(DIMENSION), **found}

    def start(self) -> None:
        """Start everything and wait until it is whole."""
        for node in (*self.nodes.values(), *self.sentinels.values()):
            node.start()
        self.until_nodes_whole()
        for service in self.services:
            service.start()
        self.until_whole()

    def stop(self) -> None:
        """End everything, what is paused too."""
        self.network.heal()
        for name in self.names():
            self.go_on(name)
        for service in self.services:
            service.stop()
        for node in (*self.sentinels.values(), *self.nodes.values()):
            with suppress(subprocess.TimeoutExpired):
                node.stop()

    # --- faults --------------------------------------------------------------------------------
    def names(self) -> list[str]:
        """Return the names of everything that runs."""
        return [*self.nodes, *self.sentinels, *(service.name for service in self.services)]

    def part(self, name: str) -> Node | Service:
        """Return the node, Sentinel or service of this name."""
        found = self.nodes.get(name) or self.sentinels.get(name)
        return found or next(service for service in self.services if service.name == name)

    def kill(self, name: str) -> None:
        """SIGKILL."""
        part = self.part(name)
        os.kill(part.server_process_id(), signal.SIGKILL)
        assert part.process is not None
        part.process.wait()
        part.stop()

    def wipe(self, name: str) -> None:
        """Delete a killed node's disk: it starts empty and gets everything from its master."""
        with suppress(FileNotFoundError):  # lost once more before it got anything
            shutil.rmtree(self.nodes[name].folder / "data" / "appendonlydir")

    def start_again(self, name: str) -> None:
        """Start a part again, as a supervisor would. A node may wait until another has its
        place."""
        part = self.part(name)
        if isinstance(part, Node):
            part.launch()
        else:
            part.start()

    def pause(self, name: str) -> None:
        """SIGSTOP."""
        os.kill(self.part(name).server_process_id(), signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        """Send SIGCONT, if it still runs."""
        part = self.part(name)
        if part.process is not None and part.process.poll() is None:
            os.kill(part.server_process_id(), signal.SIGCONT)

    # --- how it is -----------------------------------------------------------------------------
    def records(self, memories: Sequence[Memory]) -> dict[int, dict[str, Any] | None]:
        """Return what the current master has under these memories' keys, by number; nothing if it
        cannot be asked."""
        with suppress(RedisError, OSError):
            with probe(self.nodes[self.master()]) as client:
                pipeline = client.pipeline(transaction=False)
                for memory in memories:
                    pipeline.hget(keys.episodic_memory(memory.agent, str(memory.id)), "record")
                found = pipeline.execute()
            return {
                memory.number: None if record is None else orjson.loads(record)
                for memory, record in zip(memories, found, strict=True)
            }
        return {}

    def master(self) -> str:
        """Return the node that a majority of Sentinels calls master; else the first."""
        said = [address for name in self.sentinels if (address := self._master_said_by(name))]
        ports = {(node.host, node.port): name for name, node in self.nodes.items()}
        majority = max(said, key=said.count, default=None)
        if majority is None or 2 * said.count(majority) <= len(self.sentinels):
            return MASTER
        return ports[majority]

    def _master_said_by(self, sentinel: str) -> tuple[str, int] | None:
        with suppress(RedisError, OSError), probe(self.sentinels[sentinel]) as client:
            host, port = command(client, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)
            return str(host), int(port)
        return None

    def replicas(self) -> list[str]:
        """Return all nodes but the master."""
        master = self.master()
        return [name for name in self.nodes if name != master]

    def until_nodes_whole(self) -> None:
        """Wait until every node and Sentinel is up and in agreement. Raises NotWhole."""
        _until(self._problems_of_nodes)

    def until_whole(self) -> None:
        """Wait until, besides, every service says that all its parts are. Raises NotWhole."""
        _until(self.problems)

    def problems(self) -> list[str]:
        """Return what is wrong at this moment."""
        return self._problems_of_nodes() or self._problems_of_services()

    def _problems_of_nodes(self) -> list[str]:
        master, problems = self.master(), []
        for name, node in self.nodes.items():
            with suppress(RedisError, OSError), probe(node) as client:
                info = client.info("replication")
                loading = client.info("persistence")["loading"]
                if loading:
                    problems.append(f"{name} loads")
                elif name == master:
                    others = len(self.nodes) - 1
                    if info["role"] != "master" or info["connected_slaves"] != others:
                        problems.append(f"{name}: {info['role']} of {info['connected_slaves']}")
                elif info["role"] != "slave" or info["master_link_status"] != "up":
                    problems.append(f"{name}: {info['role']}, no link")
                elif info["master_port"] != self.nodes[master].port:
                    problems.append(f"{name} follows another")
                continue
            problems.append(f"{name} does not answer")
        for name in self.sentinels:
            problems += self._problems_of_sentinel(name)
        return problems

    def _problems_of_sentinel(self, name: str) -> list[str]:
        with suppress(RedisError, OSError), probe(self.sentinels[name]) as client:
            flat = command(client, "SENTINEL", "MASTER", MASTER_NAME)
            said = dict(zip(flat[::2], flat[1::2], strict=True)) if isinstance(flat, list) else flat
            counts = (int(said["num-slaves"]), int(said["num-other-sentinels"]))
            if (str(said["flags"]), *counts) == ("master", len(REPLICAS), len(SENTINELS) - 1):
                return []
            return [f"{name} sees {said['flags']} {counts}"]
        return [f"{name} does not answer"]

    def _problems_of_services(self) -> list[str]:
        problems = []
        for service in self.services:
            try:
                ready = httpx.get(
                    f"{service.url}/readyz", timeout=PROBE_TIMEOUT_S, verify=NO_TLS
                ).json()
            except (httpx.TransportError, ValueError) as error:
                problems.append(f"{service.name}: {error!r}")
                continue
            problems += [
                f"{service.name}: {part} {said.get('problem') or said.get('detail')}"
                for part, said in ready["parts"].items()
                if said["status"] != "ok"
            ]
        return problems


def _quickly(node: Node) -> None:
    """Only here: failovers should come often, but not whenever the machine is busy elsewhere."""
    conf = node.folder / "conf" / "sentinel.conf"
    text = conf.read_text()
    for name, value in (
        ("down-after-milliseconds", DOWN_AFTER_MS),
        ("failover-timeout", 2 * DOWN_AFTER_MS),
    ):
        said = f"{name} {MASTER_NAME} "
        text = re.sub(f"{said}[0-9]+", f"{said}{value}", text)
    conf.write_text(text)


def _until(problems: Callable[[], list[str]]) -> None:
    give_up_at = time.monotonic() + WHOLE_TIMEOUT_S
    while found := problems():
        if time.monotonic() > give_up_at:
            raise NotWhole("; ".join(found))
        time.sleep(0.1)
