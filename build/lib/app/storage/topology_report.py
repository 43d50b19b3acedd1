"""Who follows whom, as the master tells it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from app.storage.redis_errors import translated


@dataclass(frozen=True, slots=True)
class NodeLine:
    """One node: its role, address, state and bytes behind the master (None: it holds no data)."""

    role: str
    address: str
    state: str
    lag_bytes: int | None


async def read_topology(master: Redis) -> list[NodeLine]:
    """The node that was asked, then the replicas that it knows. Raises StorageError."""
    with translated():
        info: Mapping[str, Any] = await master.info("server", "replication")
    own = f"port {info['tcp_port']}"
    offset = int(info["master_repl_offset"])
    if info["role"] != "master":
        followed = f"{info['master_host']}:{info['master_port']}"
        state = f"follows {followed}, link {info['master_link_status']}"
        return [NodeLine("replica", own, state, 0)]
    replicas = [info[f"slave{number}"] for number in range(int(info["connected_slaves"]))]
    return [
        NodeLine("master", own, "online", 0),
        *(
            NodeLine(
                "replica",
                f"{replica['ip']}:{replica['port']}",
                str(replica["state"]),
                max(0, offset - int(replica["offset"])),
            )
            for replica in replicas
        ),
    ]
