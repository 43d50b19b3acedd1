"""Runs scripts that write beside an agent's memories, also while the agent moves to another group.

Such a script begins with `require_here` (app/storage/lua), which holds it back during a move's last
step.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

from app.context import remaining_s, required
from app.nodes.commands import Script, Word
from app.nodes.redis_errors import AgentMoving
from app.nodes.shard import Shards

MOVE_WAIT_S: Final = 2.0
"""How long a write waits for its agent's move to another group, whose last step takes
milliseconds."""
MOVE_PAUSE_S: Final = 0.005


class Confirming(Protocol):
    """Waits for what was written (app/storage/memories.py)."""

    async def confirm(self, partition: str, *, history: str | None = None) -> None:
        """Wait until a partition has the requested durability, in this history of the data."""


async def run_where_it_is(
    shards: Shards,
    script: Script,
    keys: Sequence[str],
    arguments: Sequence[Word],
    *,
    partition: str = "",
    store: Confirming | None = None,
) -> Any:
    """Run a script on the master of the agent with these keys; while the agent moves, wait for it.

    With a `store`, wait until what the script did to the agent of this `partition` has the
    requested durability. Return the script's reply. Raise StorageError.
    """
    give_up_at = time.monotonic() + MOVE_WAIT_S
    while True:
        node = (await shards.locate(keys[0])).master
        await node.wait_for_fence(remaining_s)
        try:
            if store is None or required() == "memory":
                return await script.run(node.client, keys, arguments)
            reply, history = await script.run_in_history(node.client, keys, arguments)
        except AgentMoving:
            if time.monotonic() > give_up_at:
                raise
        else:
            await store.confirm(partition, history=history)
            return reply
        await asyncio.sleep(MOVE_PAUSE_S)
        await shards.look_again(keys[0])
