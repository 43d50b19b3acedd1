"""What is crashed: the deployment's own nodes (redis/*.conf) and two services on them."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import httpx

from app.embedded.node import free_port
from tests.deploy.nodes import PASSWORD, Node, write_files
from tests.kit.service_process import NO_TLS
from tools.crash.groups import MASTER_NAME, SENTINELS, NodeGroup, node_names
from tools.crash.memories import DIMENSION, Memory
from tools.crash.network import LOOPBACK_NETWORK, Network
from tools.crash.probe import PROBE_TIMEOUT_S
from tools.crash.service import Service

Topology = Literal["single", "replicas", "sentinel", "groups"]
TOPOLOGIES: tuple[Topology, ...] = ("single", "replicas", "sentinel", "groups")
GROUPS = ("a", "b", "c")
SERVICES = ("service-1", "service-2")
WHOLE_TIMEOUT_S = 90.0
DOWN_AFTER_MS = 3000


class NotWhole(Exception):
    """Something did not recover by itself; the message says what."""


def group_names(topology: Topology) -> tuple[str, ...]:
    """Return the names of a topology's groups; the lone group's is empty."""
    return GROUPS if topology == "groups" else ("",)


def is_watched(topology: Topology) -> bool:
    """Return whether Sentinels watch the nodes."""
    return topology in {"sentinel", "groups"}


def parts_of(topology: Topology) -> tuple[str, ...]:
    """Return the name of everything that runs."""
    nodes = [
        name
        for group in group_names(topology)
        for name in node_names(group, is_alone=topology == "single")
    ]
    return (*nodes, *(SENTINELS if is_watched(topology) else ()), *SERVICES)


class Deployment:
    """The nodes, the Sentinels and the services. Everything here blocks: call it in a thread."""

    def __init__(
        self, topology: Topology, folder: Path, network: Network = LOOPBACK_NETWORK
    ) -> None:
        self.topology = topology
        self.network = network
        self.sentinels = {
            name: self._node(name, folder, network)
            for name in (SENTINELS if is_watched(topology) else ())
        }
        self.groups = {
            group: NodeGroup(
                group,
                {
                    name: self._node(name, folder, network)
                    for name in node_names(group, is_alone=topology == "single")
                },
                self.sentinels,
            )
            for group in group_names(topology)
        }
        self._places: Mapping[str, str] = {}
        self.nodes = {n: node for group in self.groups.values() for n, node in group.nodes.items()}
        for group in self.groups.values():
            self._prepare(group)
        for node in self.sentinels.values():
            write_files(node, _address(next(iter(self.groups.values()))))
            _watch(node, list(self.groups.values()))
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

    def _node(self, name: str, folder: Path, network: Network) -> Node:
        node = Node(name, folder / name, free_port())
        node.host, node.runner = network.host_of(name), network.runner_of(name)
        return node

    def _prepare(self, group: NodeGroup) -> None:
        """Write the files of a group's nodes, which ask the Sentinels for their roles if any."""
        urls = ",".join(node.url.removesuffix("/0") for node in self.sentinels.values())
        for node in group.nodes.values():
            write_files(node, _address(group))
            if urls:
                node.environment = {
                    "REDIS_MIN_REPLICAS_TO_WRITE": "1",
                    "REDIS_SENTINEL_URLS": urls,
                    "REDIS_SENTINEL_MASTER": group.master_name,
                    "REDIS_NODE_NAME": node.host,
                    "REDIS_ROLE_WAIT_S": "15",
                }

    def _settings(self) -> dict[str, str]:
        sentinels = [node.url.removesuffix("/0") for node in self.sentinels.values()]
        found = {"dimension": str(DIMENSION)}
        if self.topology == "groups":
            listed = [
                {"name": name, "sentinels": sentinels, "master": group.master_name}
                for name, group in self.groups.items()
            ]
            return found | {"groups": json.dumps(listed), "redis_password": PASSWORD}
        if sentinels:
            return found | {"sentinel_urls": ",".join(sentinels), "redis_password": PASSWORD}
        urls = [node.url for node in self.nodes.values()]
        found |= {"redis_url": urls[0]}
        if urls[1:]:
            found["replica_urls"] = ",".join(urls[1:])
        return found

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
        """Return what the current master of these memories' agent has of them, by number; nothing
        if it cannot be asked."""
        found: dict[int, dict[str, Any] | None] = {}
        # Only the agent's own group: a reader that waits for another one looks like an outage.
        own = self._places.get(memories[0].agent)
        for group in self.groups.values() if own is None else [self.groups[own]]:
            found |= group.records(memories)
        return found

    def note_places(self, places: Mapping[str, str]) -> None:
        """Note the groups of agents that never move."""
        self._places = places

    def masters(self) -> list[str]:
        """Return the master of each group."""
        return [group.master() for group in self.groups.values()]

    def replicas(self) -> list[str]:
        """Return all nodes but the masters."""
        return [name for group in self.groups.values() for name in group.replicas()]

    def group_of(self, part: str) -> str | None:
        """Return the group that a node belongs to. None for any other part."""
        return next((n for n, group in self.groups.items() if part in group.nodes), None)

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
        return [problem for group in self.groups.values() for problem in group.problems()]

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


def _address(group: NodeGroup) -> tuple[str, int]:
    first = group.nodes[group.first]
    return first.host, first.port


def _watch(sentinel: Node, groups: Sequence[NodeGroup]) -> None:
    """Have a Sentinel watch these groups, as the file has it watch one, and miss a node soon.

    Only here: failovers should come often, but not whenever the machine is busy elsewhere.
    """
    conf = sentinel.folder / "conf" / "sentinel.conf"
    text = conf.read_text()
    own = [line for line in text.splitlines() if f" {MASTER_NAME} " in line]
    lines = [line for line in text.splitlines() if line not in own]
    quick = {"down-after-milliseconds": DOWN_AFTER_MS, "failover-timeout": 2 * DOWN_AFTER_MS}
    for group in groups:
        host, port = _address(group)
        for line in own:
            word, verb, *_, last = line.split()
            value = f"{host} {port} {last}" if verb == "monitor" else quick.get(verb, last)
            lines.append(f"{word} {verb} {group.master_name} {value}")
    conf.write_text("\n".join([*lines, ""]))


def _until(problems: Callable[[], list[str]]) -> None:
    give_up_at = time.monotonic() + WHOLE_TIMEOUT_S
    while found := problems():
        if time.monotonic() > give_up_at:
            raise NotWhole("; ".join(found))
        time.sleep(0.1)
