"""Runs scripts that write beside an agent's memories, also while the agent moves to another group.

Such a script begins with `require_here` (app/storage/lua), which holds it back during a move's last
step.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from app.context import remaining_s
from app.nodes.commands import Script, Word
from app.nodes.redis_errors import AgentMoving
from app.nodes.shard import Shards

MOVE_WAIT_S: Final = 2.0
"""How long a write waits for its agent's move to another group, whose last step takes
milliseconds."""
MOVE_PAUSE_S: Final = 0.005


async def run_where_it_is(
    shards: Shards, script: Script, keys: Sequence[str], arguments: Sequence[Word]
) -> Any:
    """Run a script on the master of the agent with these keys; while the agent moves, wait for it.

    Return the script's reply. Raise StorageError.
    """
    give_up_at = time.monotonic() + MOVE_WAIT_S
    while True:
        node = (await shards.locate(keys[0])).master
        await node.wait_for_fence(remaining_s)
        try:
            return await script.run(node.client, keys, arguments)
        except AgentMoving:
            if time.monotonic() > give_up_at:
                raise
        await asyncio.sleep(MOVE_PAUSE_S)
        await shards.look_again(keys[0])
