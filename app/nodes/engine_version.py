"""Finds out a node's query engine by HELLO, which every user may send.

https://redis.io/docs/latest/commands/hello/
"""

from typing import Any

from redis.asyncio import Redis

from app.nodes.client import execute
from app.nodes.redis_errors import translated

ASK = ("HELLO",)
UNKNOWN = 0
VECTORS_IN_TOTAL = 80_200
"""From this version on FT.INFO's total includes the vectors."""


async def engine_version(node: Redis) -> int:
    """Return the engine's version as a number, 21005 for 2.10.5, or 0 if the node names none.

    Raise StorageError.
    """
    with translated():
        return version_in(await execute(node, *ASK))


def version_in(hello: Any) -> int:
    """Return the engine's version in a reply of HELLO."""
    for module in _mapping(hello).get("modules", []):
        described = _mapping(module)
        if _text(described.get("name")) == "search":
            return int(described["ver"])
    return UNKNOWN


def shown(version: int) -> str:
    """Return `2.10.5` for 21005."""
    return f"{version // 10_000}.{version // 100 % 100}.{version % 100}"


def _mapping(reply: Any) -> dict[str, Any]:
    """Return as a dict what RESP2 sends as a flat list and RESP3 as a map."""
    pairs = reply.items() if isinstance(reply, dict) else zip(*[iter(reply)] * 2, strict=False)
    return {_text(key): value for key, value in pairs}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
