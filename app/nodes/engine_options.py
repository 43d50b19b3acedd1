"""The query engine's version, and its settings that the service depends on, set on each node.

Redis 8 has them among its own (`search-...`); before, the module had a command for them.
https://redis.io/docs/latest/develop/ai/search-and-query/administration/configuration/
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import redis.exceptions as foreign
from redis.asyncio import Redis

from app.errors import StartError
from app.nodes.client import execute
from app.nodes.commands import ask_one
from app.vectors import VectorFormat

logger = logging.getLogger(__name__)

BLOCK_VECTORS = 66
"""Vectors that the engine may allocate at once. From 8.2 on it ignores BLOCK_SIZE and allocates
1,024 if `search-vss-max-resize` has room for them: 1,338 KB for an agent with one memory (dimension
256), 119 KB with this value. 8.0 refuses FT.CREATE if a block of 64 does not fit."""
OVERHEAD_BYTES = 32
"""Stored beside each vector of a block; matters for short vectors."""

_UNKNOWN = ("unknown option", "invalid option", "unknown command")


@dataclass(frozen=True, slots=True)
class EngineOption:
    """One setting: its value, the consequence without it, and its name in a module before Redis 8.

    `is_vital`: without it an incomplete answer could look complete, so the service does not start.
    """

    name: str
    value: str
    otherwise: str
    is_vital: bool = False
    module_name: str | None = None


ON_TIMEOUT = EngineOption(
    "search-on-timeout",
    "fail",
    "a slow search could look whole",
    is_vital=True,
    module_name="ON_TIMEOUT",
)
ON_OOM = EngineOption(
    "search-on-oom", "ignore", "a full Redis could answer with an empty list", is_vital=True
)
WORKERS = EngineOption(
    "search-workers", "0", "each search leaves the main thread and blocks its connection"
)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """All settings, for vectors of this format."""

    stored_as: VectorFormat

    def __iter__(self) -> Iterator[EngineOption]:
        """Iterate over the settings."""
        yield from (ON_TIMEOUT, ON_OOM, WORKERS, self._block)

    @property
    def _block(self) -> EngineOption:
        size = self.stored_as.stored_bytes
        room = max(BLOCK_VECTORS * size, 64 * (size + OVERHEAD_BYTES))
        return EngineOption(
            "search-vss-max-resize",
            str(room),
            "an agent with a single memory takes the room of 1,024",
        )

    async def set_on(self, node: Redis) -> None:
        """Set them on a node.

        They neither replicate nor survive a restart unless redis.conf has them. A setting that the
        engine does not know is skipped. One that may not be set is accepted if it already has the
        value. Raise StartError for a vital one with another value, or RedisError.
        """
        for option in self:
            await set_option(node, option)


async def set_option(node: Redis, option: EngineOption) -> None:
    """Set one setting, as `EngineOptions.set_on` says."""
    refusal = await _set(node, option)
    if refusal is None or await _needs_no_setting(node, option):
        return
    if option.is_vital:
        raise StartError(
            f"This Redis does not let the service set {option.name} to {option.value}, so "
            f"{option.otherwise}: set it in redis.conf, or allow CONFIG SET."
        ) from refusal
    logger.warning(
        "engine setting refused",
        extra={
            "setting": option.name,
            "wanted": option.value,
            "otherwise": option.otherwise,
        },
    )


async def value_on(node: Redis, option: EngineOption) -> str | None:
    """Return the value of a setting on a node. None if the engine does not know it.

    Raise RedisError.
    """
    found = _value(await execute(node, "CONFIG", "GET", option.name))
    if found is None and option.module_name is not None:
        found = _value(await execute(node, "FT.CONFIG", "GET", option.module_name))
    return None if found is None else found.lower()


async def _needs_no_setting(node: Redis, option: EngineOption) -> bool:
    try:
        found = await value_on(node, option)
    except foreign.ResponseError:
        return False
    return found == option.value or (found is None and option.module_name is None)


def _value(reply: Any) -> str | None:
    """Return the value in a reply of CONFIG GET (flat, or a dict) or of FT.CONFIG GET (pairs)."""
    if isinstance(reply, dict):
        reply = [item for pair in reply.items() for item in pair]
    if reply and isinstance(reply[0], list):
        reply = reply[0]
    if len(reply) < 2:
        return None
    return _text(reply[1])


async def _set(node: Redis, option: EngineOption) -> foreign.ResponseError | None:
    """Set one setting. Return the error if it was refused."""
    commands = [("CONFIG", "SET", option.name, option.value)]
    if option.module_name is not None:
        commands.append(("FT.CONFIG", "SET", option.module_name, option.value.upper()))
    refusal: foreign.ResponseError | None = None
    for command in commands:
        try:
            await execute(node, *command)
        except foreign.ResponseError as error:
            if not is_unknown(error):
                refusal = error
            elif option.is_vital and option.module_name is not None:
                refusal = refusal or error
        else:
            return None
    return refusal


def is_unknown(error: foreign.ResponseError) -> bool:
    """Return whether Redis refused a setting or a command because it does not have it."""
    text = str(error).lower()
    return any(words in text for words in _UNKNOWN)


ASK = ("HELLO",)
"""Names the engine's version. Every user may send it.

https://redis.io/docs/latest/commands/hello/
"""
UNKNOWN = 0
VECTORS_IN_TOTAL = 80_200
"""From this version on FT.INFO's total includes the vectors."""


async def engine_version(node: Redis) -> int:
    """Return the engine's version as a number, 21005 for 2.10.5, or 0 if the node names none.

    Raise StorageError.
    """
    return version_in(await ask_one(node, *ASK))


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
