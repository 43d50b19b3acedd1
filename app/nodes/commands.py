"""Sends many commands in one round trip, and runs the Lua scripts that ship with the code."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from typing import Any, TypeVar

import hiredis
import redis.exceptions as foreign
from redis.asyncio import Redis

from app.nodes.client import execute
from app.nodes.history import INFO_COMMAND, token_of
from app.nodes.redis_errors import ScriptMissing, translate, translated

Words = Sequence[str | bytes | int | float]
ItemT = TypeVar("ItemT")


def slices(items: Sequence[ItemT], size: int) -> Iterator[Sequence[ItemT]]:
    """Yield the items in parts of this size: one round trip each, so that others get a turn."""
    return (items[start : start + size] for start in range(0, len(items), size))


def pack(words: Words) -> bytes:
    """Return a command in Redis's protocol."""
    packed: bytes = hiredis.pack_command(tuple(words))  # type: ignore[arg-type]  # of any length
    return packed


async def ask_one(node: Redis, *words: str | bytes | int | float) -> Any:
    """Return the reply to one command. Raise the service's errors."""
    with translated():
        return await execute(node, *words)


async def ask_all(node: Redis, commands: Iterable[Words]) -> list[Any]:
    """Return the reply to each command, in order. Raise the first error among them."""
    replies = await ask_each(node, commands)
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


async def ask_each(node: Redis, commands: Iterable[Words]) -> list[Any]:
    """Return the reply to each command, in order; a failed one has its translated error.

    Raise StorageError if the node as a whole could not be asked.
    """
    with translated():
        replies = await send_each(node, commands)
    return errors_translated(replies)


def errors_translated(replies: list[Any]) -> list[Any]:
    """Return the replies of a pipeline with each of redis-py's errors as the service's own."""
    return [translate(r) if isinstance(r, foreign.RedisError) else r for r in replies]


async def send_each(node: Redis, commands: Iterable[Words]) -> list[Any]:
    """Return the same as `ask_each`, but with redis-py's own errors."""
    pipeline = node.pipeline(transaction=False)
    for words in commands:
        pipeline.execute_command(*words)
    return await pipeline.execute(raise_on_error=False) if len(pipeline) else []


_INCLUDE = re.compile(r"^-- include (\w+)\n", re.MULTILINE)

Word = str | bytes | int | float


class Script:
    """One script of `app/storage/lua`. Its header documents its keys, arguments and results.

    A line `-- include NAME` is replaced by the script of that name, which defines functions.
    """

    def __init__(self, name: str) -> None:
        self.text = _whole_text_of(name)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def load(self, node: Redis) -> None:
        """Load the script on a node: after the node's start, or when it answered NOSCRIPT."""
        await execute(node, "SCRIPT", "LOAD", self.text)

    async def run_in_history(
        self, node: Redis, keys: Sequence[Word], arguments: Sequence[Word]
    ) -> tuple[Any, str]:
        """Return the script's reply, and the replication id of its data.

        Raise StorageError.
        """
        command = ("EVALSHA", self.sha, len(keys), *keys, *arguments)
        try:
            reply, info = await ask_all(node, [command, INFO_COMMAND])
        except ScriptMissing:
            await self.load(node)
            reply, info = await ask_all(node, [command, INFO_COMMAND])
        return reply, token_of(info).partition(":")[0]

    async def run(self, node: Redis, keys: Sequence[Word], arguments: Sequence[Word]) -> Any:
        """Return the script's reply. Raise StorageError."""
        command = ("EVALSHA", self.sha, len(keys), *keys, *arguments)
        try:
            with translated():
                return await execute(node, *command)
        except ScriptMissing:
            with translated():
                await self.load(node)
                return await execute(node, *command)


def _whole_text_of(name: str) -> str:
    return _INCLUDE.sub(lambda found: _whole_text_of(found[1]), _text_of(name))


def _text_of(name: str) -> str:
    return (resources.files("app.storage") / "lua" / f"{name}.lua").read_text("utf-8")
