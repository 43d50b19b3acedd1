"""Many commands in one round trip, errors translated."""

from collections.abc import Iterable, Sequence
from typing import Any

import hiredis
import redis.exceptions as foreign
from redis.asyncio import Redis

from app.storage.redis_errors import translate, translated

Words = Sequence[str | bytes | int | float]


def pack(words: Words) -> bytes:
    """A command in Redis's protocol."""
    packed: bytes = hiredis.pack_command(tuple(words))  # type: ignore[arg-type]  # of any length
    return packed


async def ask_all(node: Redis, commands: Iterable[Words]) -> list[Any]:
    """The reply to each command, in order. Raises the first error among them."""
    replies = await ask_each(node, commands)
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


async def ask_each(node: Redis, commands: Iterable[Words]) -> list[Any]:
    """The reply to each command, in order; a translated error stands in its command's place.

    Raises StorageError when the node as a whole could not be asked.
    """
    with translated():
        replies = await send_each(node, commands)
    return [translate(r) if isinstance(r, foreign.RedisError) else r for r in replies]


async def send_each(node: Redis, commands: Iterable[Words]) -> list[Any]:
    """As `ask_each`, with redis-py's own errors."""
    pipeline = node.pipeline(transaction=False)
    for words in commands:
        pipeline.execute_command(*words)
    return await pipeline.execute(raise_on_error=False) if len(pipeline) else []
