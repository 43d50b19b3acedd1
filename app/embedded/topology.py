"""Starts the embedded nodes that run together on one data folder."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from app.embedded.files import (
    Binaries,
    find_binaries,
    locked_data_folder,
    sentences_for_the_disk,
)
from app.embedded.node import (
    LOOPBACK,
    EmbeddedNode,
    NodeOptions,
    Watch,
    free_port,
    free_ports,
    running_node,
)
from app.embedded.sentinels import SENTINELS, WatchedMaster, last_master, running_sentinels
from app.errors import ConfigurationError
from app.nodes.addresses import Addresses, GroupAddresses
from app.settings import Settings

FIRST = "node-1"
MASTER_NAME = "coinswarm"
"""The Sentinels' name for the master of a single group; those of several have the groups' names."""
FORMER_CLUSTER = "cluster"
"""The folder in which former releases kept an embedded Redis Cluster."""
WATCHED_REPLICAS = 2
"""The default with Sentinels: one replica can be promoted while the other keeps running."""


@dataclass(frozen=True, slots=True)
class EmbeddedTopology:
    """Running nodes: a master and its replicas.

    With `watch`, Sentinels watch them. Then `master` is the master at startup; roles may
    change. With `groups`, each is such a topology, and the master is the first group's.
    """

    master: EmbeddedNode
    replicas: tuple[EmbeddedNode, ...] = ()
    watch: Watch | None = None
    groups: "Mapping[str, EmbeddedTopology]" = field(default_factory=dict)

    @property
    def addresses(self) -> Addresses:
        """Return the addresses for a service on this machine."""
        if self.groups:
            return Addresses(
                groups=tuple(
                    GroupAddresses(name, group.addresses) for name, group in self.groups.items()
                )
            )
        if self.watch is not None:
            sentinels = tuple(f"redis://{LOOPBACK}:{port}" for port in self.watch.ports)
            return Addresses(sentinels=sentinels, master_name=self.watch.master_name)
        return Addresses(nodes=tuple(node.url for node in self.nodes))

    @property
    def nodes(self) -> tuple[EmbeddedNode, ...]:
        """Return all nodes."""
        if self.groups:
            return tuple(node for group in self.groups.values() for node in group.nodes)
        return (self.master, *self.replicas)


def master_folder(data_dir: Path, group: str = "") -> Path:
    """Return the folder of the node that was master last; its data counts.

    With `group`, `data_dir` is that of one group of several, whose Sentinels they share.
    """
    sentinels_dir = data_dir.parent if group else data_dir
    return data_dir / (last_master(sentinels_dir, group or MASTER_NAME, data_dir) or FIRST)


def group_folders(settings: Settings) -> dict[str, Path]:
    """Return the data folder of each embedded group by its name."""
    names = (f"group-{number}" for number in range(1, settings.embedded_groups + 1))
    return {name: settings.data_dir / name for name in names}


@asynccontextmanager
async def embedded_redis(settings: Settings) -> AsyncIterator[EmbeddedTopology]:
    """Run the topology of MEMORY_EMBEDDED_TOPOLOGY on MEMORY_DATA_DIR.

    Raise EmbeddedRedisError, DataFolderInUse, or ConfigurationError for a folder with the memory of
    a Redis Cluster.
    """
    async with AsyncExitStack() as stack:
        with sentences_for_the_disk(settings.data_dir):
            topology = await _started(settings, stack)
        yield topology


async def _started(settings: Settings, stack: AsyncExitStack) -> EmbeddedTopology:
    """Start the nodes; `stack` ends them."""
    binaries = find_binaries()
    lock_descriptor = stack.enter_context(locked_data_folder(settings.data_dir))
    _require_no_cluster(settings.data_dir)
    _require_same_kind(settings)
    is_grouped = settings.embedded_topology == "groups"
    count = _replica_count(settings)
    is_watched = settings.embedded_topology == "sentinel" or (is_grouped and count > 0)
    ports = tuple(free_ports(SENTINELS)) if is_watched else ()
    starter = _Starter(settings, binaries, stack, count, ports)
    if is_grouped:
        groups: dict[str, EmbeddedTopology] = {}
        for name, folder in group_folders(settings).items():
            own_lock = stack.enter_context(locked_data_folder(folder))
            port = 0 if groups else settings.embedded_port
            groups[name] = await starter.start(folder, own_lock, port, name)
        topology = EmbeddedTopology(next(iter(groups.values())).master, groups=groups)
        masters = {name: group.master.port for name, group in groups.items()}
    else:
        topology = await starter.start(settings.data_dir, lock_descriptor, settings.embedded_port)
        masters = {MASTER_NAME: topology.master.port}
    if is_watched:
        await stack.enter_async_context(
            running_sentinels(
                binaries,
                settings.data_dir,
                lock_descriptor,
                ports=ports,
                masters={name: WatchedMaster(port, count) for name, port in masters.items()},
                timeout_s=settings.embedded_start_timeout_s,
            )
        )
    return topology


@dataclass(frozen=True, slots=True)
class _Starter:
    """Starts masters, each with `count` replicas and watched by Sentinels at `ports` if any."""

    settings: Settings
    binaries: Binaries
    stack: AsyncExitStack
    count: int
    ports: tuple[int, ...]

    async def start(
        self, data_dir: Path, lock_descriptor: int, port: int, group: str = ""
    ) -> EmbeddedTopology:
        """Start a master, at any free port if that is 0, and its replicas in this folder."""
        watch = Watch(self.ports, group or MASTER_NAME) if self.ports else None
        node = partial(self._node, lock_descriptor, watch)
        first = master_folder(data_dir, group)
        folders = (data_dir / f"node-{number}" for number in range(1, self.count + 2))
        master = await node(first, port or free_port())
        others = [folder for folder in folders if folder != first][: self.count]
        replicas = [
            await node(folder, port, replica_of_port=master.port)
            for folder, port in zip(others, free_ports(self.count), strict=True)
        ]
        return EmbeddedTopology(master, tuple(replicas), watch)

    async def _node(
        self,
        lock_descriptor: int,
        watch: Watch | None,
        folder: Path,
        port: int,
        replica_of_port: int | None = None,
    ) -> EmbeddedNode:
        options = NodeOptions(
            name=folder.name,
            folder=folder,
            port=port,
            maxmemory_bytes=self.settings.embedded_maxmemory_bytes,
            start_timeout_s=self.settings.embedded_start_timeout_s,
            lock_descriptor=lock_descriptor,
            replica_of_port=replica_of_port,
            watch=watch,
        )
        return await self.stack.enter_async_context(running_node(self.binaries, options))


def _replica_count(settings: Settings) -> int:
    if settings.embedded_topology == "single":
        return 0
    is_watched = settings.embedded_topology == "sentinel"
    return settings.embedded_replicas or (WATCHED_REPLICAS if is_watched else 0)


def _require_same_kind(settings: Settings) -> None:
    """Refuse a folder of one group for several and of several for one, which would look empty."""
    folder = settings.data_dir
    has_groups, has_one = (folder / "group-1").exists(), (folder / FIRST).exists()
    if settings.embedded_topology == "groups" and has_one:
        raise ConfigurationError(
            f"The data folder {folder} holds the memory of a single group: set "
            "MEMORY_EMBEDDED_TOPOLOGY to replicas, or use another MEMORY_DATA_DIR and import it."
        )
    if settings.embedded_topology != "groups" and has_groups:
        raise ConfigurationError(
            f"The data folder {folder} holds a memory in several groups: set "
            "MEMORY_EMBEDDED_TOPOLOGY to groups."
        )


def _require_no_cluster(data_dir: Path) -> None:
    """Refuse the folder of a former release's cluster, whose data would seem to be lost."""
    if (data_dir / FORMER_CLUSTER).exists() and not (data_dir / FIRST).exists():
        raise ConfigurationError(
            f"The data folder {data_dir} holds the memory of a Redis Cluster, which is no longer "
            "supported: export it with the release that made it, then import it into another "
            "MEMORY_DATA_DIR."
        )
