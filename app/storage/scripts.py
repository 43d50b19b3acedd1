"""Lua scripts shipped with the code, called by their hash."""

import hashlib
from importlib import resources

from redis.asyncio import Redis

from app.storage.client import execute


class Script:
    """One script of `app/storage/lua`. Its header names its keys, arguments and results."""

    def __init__(self, name: str) -> None:
        self.text = (resources.files("app.storage") / "lua" / f"{name}.lua").read_text("utf-8")
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def load(self, node: Redis) -> None:
        """Make the script known to a node: after its start, or when it answered NOSCRIPT."""
        await execute(node, "SCRIPT", "LOAD", self.text)
