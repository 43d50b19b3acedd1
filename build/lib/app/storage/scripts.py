"""Lua scripts shipped with the code, called by their hash."""

import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from redis.asyncio import Redis

from app.storage.client import execute
from app.storage.redis_errors import ScriptMissing, translated

_INCLUDE = re.compile(r"^-- include (\w+)\n", re.MULTILINE)

Word = str | bytes | int | float


class Script:
    """One script of `app/storage/lua`. Its header names its keys, arguments and results.

    A line `-- include NAME` stands for the script of that name, which defines functions.
    """

    def __init__(self, name: str) -> None:
        self.text = _INCLUDE.sub(lambda found: _text_of(found[1]), _text_of(name))
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def load(self, node: Redis) -> None:
        """Make the script known to a node: after its start, or when it answered NOSCRIPT."""
        await execute(node, "SCRIPT", "LOAD", self.text)

    async def run(self, node: Redis, keys: Sequence[Word], arguments: Sequence[Word]) -> Any:
        """The script's reply. Raises StorageError."""
        command = ("EVALSHA", self.sha, len(keys), *keys, *arguments)
        try:
            with translated():
                return await execute(node, *command)
        except ScriptMissing:
            with translated():
                await self.load(node)
                return await execute(node, *command)


def _text_of(name: str) -> str:
    return (resources.files("app.storage") / "lua" / f"{name}.lua").read_text("utf-8")
