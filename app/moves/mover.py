"""Moves agents between groups while they work.

One move, step by step. Each may be repeated, so a move that was interrupted anywhere continues:

1. An attempt is entered at the source, which ends any other. Writes at the target are held back.
2. Everything is copied, then what changed meanwhile, and both sides are compared.
3. Writes at the source are held back for HOLD_MS. The last changes and the counters are copied and
   compared. If that took longer, writes go on, and this step is repeated.
4. The source holds writes back for good. From here on the move can only be completed.
5. The home has the new place, and every process hears of it. Writers that were held back go there.
6. After GRACE_S the source's copy is removed. What holds its writes back stays: a process that
   heard of nothing can write nothing that would be lost.

Reads are answered by the source until step 5. (docs/decisions/0032-groups.md)
"""

import logging
import secrets
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from app import keys
from app.errors import DurabilityNotReached, MemoryServiceError, StorageFailed
from app.moves.copying import AgentCopy, Copied, FeedTrimmed, GuardedPart, erase
from app.moves.ledger import ENDED, Move, MoveLedger
from app.nodes.changes import CHANNEL
from app.nodes.client import execute
from app.nodes.commands import Script, Words, ask_all
from app.nodes.groups.placement import GroupShards
from app.nodes.job_lock import JobLock
from app.nodes.jobs import periodically
from app.nodes.redis_errors import translated
from app.nodes.shard import Shard
from app.storage.index import Indexes, retired_of

logger = logging.getLogger(__name__)

JOB = "agent_moves"
TURN_S = 5.0
"""How long a process that died with the job lock keeps others from going on."""
INTERVAL_S = 0.5
HOLD_MS = 150
"""How long writes may be held back before they go on where they were; longer with each try on a
machine that needs longer, but for less time than a write waits."""
MAX_HOLD_MS = 1500
MS_PER_S = 1000
REPLICATED_WITHIN_MS = 1000
GRACE_S = 5.0
"""How long the source keeps its copy: processes hear of a move within a second."""
CLOCKS_DIFFER_S = 60.0
"""How far the clocks of services and movers may be apart, at most."""
FEW = 50
"""Changes that are left for the time in which writes are held back."""
TRIES = 3
"""How often a copy that was not the same is made again."""
ROUNDS = 200


class _TookTooLong(Exception):
    """Writes went on before the last step was complete."""


class AgentMover:
    """Makes the moves in the ledger, one after the other, in one process at a time."""

    def __init__(
        self, shards: GroupShards, indexes: Indexes, ledger: MoveLedger, job_lock: JobLock
    ) -> None:
        self._shards = shards
        self._indexes = indexes
        self._ledger = ledger
        self._job_lock = job_lock
        self._hold = Script("hold_agent")

    def working(self) -> AbstractAsyncContextManager[None]:
        """Make moves while the context is open."""
        return periodically(self.run_in_turn, INTERVAL_S, "moving agents")

    async def run_in_turn(self) -> None:
        """Make every move that is wanted, unless another process holds the job lock.

        Raise StorageError.
        """
        open_moves = [move for move in await self._ledger.all() if move.status not in ENDED]
        if not open_moves or not await self._job_lock.take(JOB, TURN_S):
            return
        for move in open_moves:
            await self._job_lock.hold(JOB, TURN_S)
            await self._make(move)
        await self._job_lock.release(JOB)

    async def _make(self, move: Move) -> None:
        try:
            if move.status != "cleaning":
                move = await self._moved(move)
            await self._clean(move)
        except StorageFailed as error:
            logger.warning(
                "the move of an agent is given up",
                extra={"agent": move.agent_id, "group": move.target, "cause": error.detail},
            )
            await self._give_up(move, error.detail)
        except MemoryServiceError as error:
            logger.warning(
                "the move of an agent stopped and is tried again",
                extra={"agent": move.agent_id, "group": move.target, "cause": error.detail},
            )
            await self._ledger.note([replace(move, detail=error.detail)])

    async def _give_up(self, move: Move, why: str) -> None:
        """Leave the agent where it is, and remove the copy, unless it has been handed over."""
        source, target = self._shards.group(move.source), self._shards.group(move.target)
        if await self._held(source, move.agent_id, "", "copying", "") == 2:
            return  # the next run completes it
        with translated():
            await execute(target.master.client, "HSET", keys.MOVING, move.agent_id, "arriving")
        part = GuardedPart(target.master.client, move.agent_id, "arriving")
        await self._erase(part)
        for shard in (source, target):
            with translated():
                await execute(shard.master.client, "HDEL", keys.MOVING, move.agent_id)
        await self._ledger.note([replace(move, status="failed", detail=why)])

    async def _moved(self, move: Move) -> Move:
        """Bring the agent to the target. Return the move as noted."""
        source, target = self._shards.group(move.source), self._shards.group(move.target)
        attempt = secrets.token_hex(8)
        arriving = f"arriving {attempt}"
        part = GuardedPart(target.master.client, move.agent_id, arriving)
        copy = AgentCopy(source.master.client, part, self._indexes)
        if await self._held(source, move.agent_id, attempt, "copying", "") == 1:
            with translated():
                await execute(part.node, "HSET", keys.MOVING, move.agent_id, arriving)
            move = await self._copied(move, copy, attempt)
        return await self._switched(move, target)

    async def _copied(self, move: Move, copy: AgentCopy, attempt: str) -> Move:
        """Copy until the source has handed the agent over. Return the move as noted."""
        for _ in range(TRIES):
            try:
                move, copied = await self._bulk(move, copy)
                for number in range(ROUNDS):
                    hold_ms = min(MAX_HOLD_MS, HOLD_MS + number * HOLD_MS // 2)
                    try:
                        await self._hand_over(move, copy, copied, attempt, hold_ms)
                    except _TookTooLong:
                        await self._catch_up(copy, copied)
                        continue
                    return move
            except FeedTrimmed:
                logger.info("a move begins again", extra={"agent": move.agent_id})
        raise StorageFailed(
            f"The copy of agent {move.agent_id} never was the same as its memory: see the log and "
            "`./memory check`, then ask for the move again."
        )

    async def _bulk(self, move: Move, copy: AgentCopy) -> tuple[Move, Copied]:
        """Copy all, while the agent works, and compare."""
        whole = await copy.size()
        copied = await copy.prepare()
        async for count in copy.copy_all():
            await self._job_lock.hold(JOB, TURN_S)
            part = min(0.9, 0.9 * count / max(1, whole))
            move = replace(move, status="copying", memories=count, progress=round(part, 3))
            await self._ledger.note([move])
        await copy.copy_retired()
        await self._catch_up(copy, copied)
        different = await copy.differing()
        await self._job_lock.hold(JOB, TURN_S)
        await copy.copy_again(different)
        await self._catch_up(copy, copied)
        await copy.begin_feed()
        move = replace(move, status="switching", progress=0.95)
        await self._ledger.note([move])
        return move, copied

    async def _catch_up(self, copy: AgentCopy, copied: Copied) -> None:
        """Copy changes until few are left."""
        for _ in range(ROUNDS):
            await self._job_lock.hold(JOB, TURN_S)
            if len(await copy.catch_up(copied)) <= FEW:
                return

    async def _hand_over(
        self,
        move: Move,
        copy: AgentCopy,
        copied: Copied,
        attempt: str,
        hold_ms: int,
    ) -> None:
        """Hold writes back, copy the last changes, compare, and keep writes back for good.

        Raise _TookTooLong if writes went on meanwhile.
        """
        source = self._shards.group(move.source)
        agent_id, before = move.agent_id, copied.position
        began_s = time.monotonic()
        if await self._held(source, agent_id, attempt, "leaving", hold_ms) != 1:
            raise StorageFailed(f"Another attempt to move agent {agent_id} has begun.")
        last: list[str] = []
        while changed := await copy.catch_up(copied):
            last += changed
        last += await copy.copy_counters()
        await copy.copy_decisions()
        last += await copy.copy_retired(since=copied.began_at - CLOCKS_DIFFER_S)
        different = await copy.differing_of(list(dict.fromkeys(last)))
        counted, here, there = await copy.counts()
        retired_here, retired_there = await copy.retired_counts()
        if different or not counted == here == there or retired_here != retired_there:
            if time.monotonic() - began_s > hold_ms / MS_PER_S:
                raise _TookTooLong  # writes went on meanwhile
            await self._held(source, agent_id, attempt, "copying", "")
            logger.warning(
                "the copy of an agent differs and is made again",
                extra={
                    "agent": agent_id,
                    "different": len(different),
                    "counts": [counted, here, there],
                },
            )
            raise FeedTrimmed
        logger.debug("last changes", extra={"agent": agent_id, "after": before, "count": len(last)})
        await self._until_replicated(self._shards.group(move.target), copy.part)
        if await self._held(source, agent_id, attempt, "moved", move.target) == 0:
            raise _TookTooLong
        await self._until_replicated(source, self._left(move))

    async def _switched(self, move: Move, target: Shard) -> Move:
        """Make the target the agent's place, and let it be written to there."""
        move = await self._ledger.switch(move, time.time())
        await self._shards.open(target, move.agent_id)
        await self._left(move).write({}, removes_name=True)
        told: list[Words] = [("PUBLISH", CHANNEL, keys.episodic_partition(move.agent_id))]
        for shard in (target, self._shards.group(move.source)):
            await ask_all(shard.master.client, told)
        logger.info(
            "agent moved",
            extra={"agent": move.agent_id, "from": move.source, "to": move.target},
        )
        return move

    async def _clean(self, move: Move) -> None:
        """Open the target, and remove the source's copy once every process must know."""
        await self._shards.open(self._shards.group(move.target), move.agent_id)
        if time.time() < (move.switched_at or 0) + GRACE_S:
            return  # a later run removes it; other agents move meanwhile
        await self._erase(self._left(move))
        await self._ledger.note([replace(move, status="done", progress=1.0, detail=None)])

    async def _until_replicated(self, shard: Shard, part: GuardedPart) -> None:
        """Wait until a replica has all that was written there so far. Raise StorageError."""
        if not shard.is_replicated:
            return
        if not await part.replicas(shard.master.waiting, REPLICATED_WITHIN_MS):
            raise DurabilityNotReached(
                f"No replica of group {shard.name} has the agent's copy yet.", retry_after_s=1
            )

    async def _held(
        self, source: Shard, agent_id: str, attempt: str, state: str, argument: str | int
    ) -> int:
        """Change what holds the agent's writes back at the source. Return the script's reply."""
        words = (agent_id, attempt, state, argument)
        return int(await self._hold.run(source.master.client, [keys.MOVING], words))

    async def _erase(self, part: GuardedPart) -> None:
        schema = self._indexes.episodic(part.agent_id).as_("FLAT")
        await erase(part, schema, retired_of(self._indexes, part.agent_id))

    def _left(self, move: Move) -> GuardedPart:
        """Return what the agent has left behind."""
        source = self._shards.group(move.source).master.client
        return GuardedPart(source, move.agent_id, f"moved {move.target}")
