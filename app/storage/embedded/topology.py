"""Which embedded nodes run together, on one data folder."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from app.errors import ConfigurationError
from app.settings import Settings
from app.storage.addresses import Addresses
from app.storage.embedded.binaries import find_binaries
from app.storage.embedded.cluster import (
    CLUSTER_FOLDER,
    NODE_TIMEOUT_MS,
    Ports,
    form_cluster,
    node_count,
    readdress,
)
from app.storage.embedded.data_folder import locked_data_folder
from app.storage.embedded.node import (
    LOOPBACK,
    EmbeddedNode,
    NodeOptions,
    free_port,
    free_ports,
    running_node,
)
from app.storage.embedded.rejoin import MASTER_NAME
from app.storage.embedded.sentinels import SENTINELS, last_master, running_sentinels

FIRST = "node-1"
WATCHED_REPLICAS = 2
"""With Sentinels, where no number is given: one can be promoted while the other goes on."""


@dataclass(frozen=True, slots=True)
class EmbeddedTopology:
    """Running nodes: a master and the replicas that follow it, or the nodes of a cluster.

    With `sentinel_ports`, Sentinels watch them: `master` is the one of the start, and roles move.
    In a cluster (`is_cluster`) `master` is merely the first of them, and roles move.
    """

    master: EmbeddedNode
    replicas: tuple[EmbeddedNode, ...] = ()
    is_cluster: bool = False
    sentinel_ports: tuple[int, ...] = ()

    @property
    def addresses(self) -> Addresses:
        """How a service on this machine gets there."""
        if self.is_cluster:
            return Addresses(cluster=tuple(node.tcp_url for node in self.nodes))
        if self.sentinel_ports:
            sentinels = tuple(f"redis://{LOOPBACK}:{port}" for port in self.sentinel_ports)
            return Addresses(sentinels=sentinels, master_name=MASTER_NAME)
        return Addresses(nodes=tuple(node.url for node in self.nodes))

    @property
    def nodes(self) -> tuple[EmbeddedNode, ...]:
        """All of them."""
        return (self.master, *self.replicas)


def master_folder(data_dir: Path) -> Path:
    """The folder of the node that was master last: what it has is what counts."""
    return data_dir / (last_master(data_dir) or FIRST)


@asynccontextmanager
async def embedded_redis(settings: Settings) -> AsyncIterator[EmbeddedTopology]:
    """The topology of MEMORY_EMBEDDED_TOPOLOGY on MEMORY_DATA_DIR.

    Raises EmbeddedRedisError, DataFolderInUse, ConfigurationError for a folder that holds the
    memory of another topology.
    """
    binaries = find_binaries()
    async with AsyncExitStack() as stack:
        lock_descriptor = stack.enter_context(locked_data_folder(settings.data_dir))
        _require_same_kind(settings)

        is_watched = settings.embedded_topology == "sentinel"
        sentinel_ports = tuple(free_ports(SENTINELS)) if is_watched else ()

        def options(folder: Path, port: int) -> NodeOptions:
            return NodeOptions(
                name=folder.name,
                folder=folder,
                port=port,
                maxmemory_bytes=settings.embedded_maxmemory_bytes,
                start_timeout_s=settings.embedded_start_timeout_s,
                lock_descriptor=lock_descriptor,
                sentinel_ports=sentinel_ports,
            )

        async def start(options: NodeOptions) -> EmbeddedNode:
            return await stack.enter_async_context(running_node(binaries, options))

        if settings.embedded_topology == "cluster":
            nodes = await _start_cluster(settings, options, start)
            yield EmbeddedTopology(nodes[0], tuple(nodes[1:]), is_cluster=True)
            return
        first = master_folder(settings.data_dir)
        count = _replica_count(settings)
        folders = (settings.data_dir / f"node-{number}" for number in range(1, count + 2))
        master = await start(options(first, settings.embedded_port or free_port()))
        others = [folder for folder in folders if folder != first][:count]
        replicas = [
            await start(replace(options(folder, port), replica_of_port=master.port))
            for folder, port in zip(others, free_ports(count), strict=True)
        ]
        if is_watched:
            await stack.enter_async_context(
                running_sentinels(
                    binaries,
                    settings.data_dir,
                    lock_descriptor,
                    ports=sentinel_ports,
                    master_port=master.port,
                    replicas=count,
                )
            )
        yield EmbeddedTopology(master, tuple(replicas), sentinel_ports=sentinel_ports)


def _replica_count(settings: Settings) -> int:
    if settings.embedded_topology == "single":
        return 0
    is_watched = settings.embedded_topology == "sentinel"
    return settings.embedded_replicas or (WATCHED_REPLICAS if is_watched else 0)


async def _start_cluster(
    settings: Settings,
    options: Callable[[Path, int], NodeOptions],
    start: Callable[[NodeOptions], Awaitable[EmbeddedNode]],
) -> list[EmbeddedNode]:
    """All nodes, as one cluster: masters first, so that they end last."""
    folder = settings.data_dir / CLUSTER_FOLDER
    names = [f"node-{n}" for n in range(1, node_count(folder, settings.embedded_replicas) + 1)]
    free = free_ports(2 * len(names))
    if settings.embedded_port:
        free[0] = settings.embedded_port
    ports = {name: Ports(*free[2 * i : 2 * i + 2]) for i, name in enumerate(names)}
    readdress(folder, ports)
    nodes = [
        await start(
            replace(
                options(folder / name, ports[name].client),
                bus_port=ports[name].bus,
                cluster_timeout_ms=NODE_TIMEOUT_MS,
                cluster_ports=tuple(one.client for other, one in ports.items() if other != name),
            )
        )
        for name in names
    ]
    await form_cluster(nodes, timeout_s=settings.embedded_start_timeout_s)
    return nodes


def _require_same_kind(settings: Settings) -> None:
    """Started on the other kind's folder, Redis would seem to have lost everything."""
    is_cluster = settings.embedded_topology == "cluster"
    own, other = settings.data_dir / CLUSTER_FOLDER, settings.data_dir / FIRST
    if not is_cluster:
        own, other = other, own
    if other.exists() and not own.exists():
        raise ConfigurationError(
            f"The data folder {settings.data_dir} holds the memory of "
            f"{'a single master' if is_cluster else 'a cluster'}: export it with the "
            "MEMORY_EMBEDDED_TOPOLOGY that it was made with, then import it into another "
            "MEMORY_DATA_DIR."
        )
