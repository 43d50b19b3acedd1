"""Moves agents between groups while they work.

One move, step by step. Each may be repeated, so a move that was interrupted anywhere continues:

1. An attempt is entered at the source, which ends any other. Writes at the target are held back in
   its name: by its number the target refuses an outdated attempt.
2. Everything is copied, then what changed meanwhile, and both sides are compared.
3. Writes at the source are held back for HOLD_MS. The last changes and the counters are copied and
   compared. If that took longer, writes go on, and this step is repeated.
4. The source holds writes back for good, once the target's replicas have everything. From here on
   the move can only be completed.
5. The home has the new place, and every process hears of it. Writers that were held back go there.
6. After GRACE_S the source's copy is removed. What holds its writes back stays: a process that
   heard of nothing can write nothing that would be lost.

Reads are answered by the source until step 5. A move that can never be completed is given up: the
copy is removed, which may be repeated, too. (docs/decisions/0032-groups.md)
"""

import logging
import time
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace

from app import keys
from app.errors import MemoryServiceError, Overloaded, StorageFailed, StorageFull
from app.moves.copying import ENTRIES, AgentCopy, FeedTrimmed, erase
from app.moves.guarded_part import AttemptEnded, GuardedPart
from app.moves.ledger import ENDED, Copied, Move, MoveLedger
from app.nodes.changes import CHANNEL, moved_message
from app.nodes.commands import Script, Words, ask_all
from app.nodes.groups.placement import GroupShards
from app.nodes.job_lock import JobLock
from app.nodes.jobs import periodically
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


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt at a move: its number, and what it may write to at the target."""

    number: int
    part: GuardedPart


class AgentMover:
    """Makes the moves in the ledger, one after the other, in one process at a time.

    It uses the nodes' `probe` connections: a burst of requests that takes all others would end an
    attempt.
    """

    def __init__(
        self, shards: GroupShards, indexes: Indexes, ledger: MoveLedger, job_lock: JobLock
    ) -> None:
        self._shards = shards
        self._indexes = indexes
        self._ledger = ledger
        self._job_lock = job_lock
        self._begin = Script("begin_attempt")
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
        """Take the move as far as it can go now, and note why it stopped. Raise StorageError if
        the home does not answer."""
        try:
            await self._go_on(move)
        except MemoryServiceError as error:
            # A move needs no room in the group that the agent leaves, nor in the home.
            where = f"Group {move.target}: " if isinstance(error, StorageFull) else ""
            detail = f"{where}{error.detail}"
            now = await self._ledger.of(move.agent_id)
            if now is None or now.wanted_at != move.wanted_at or now.detail == detail:
                return
            logger.warning(
                "the move of an agent stopped and is tried again",
                extra={"agent": move.agent_id, "group": move.target, "cause": detail},
            )
            await self._ledger.note([replace(now, detail=detail)])

    async def _go_on(self, move: Move) -> None:
        if not move.is_given_up:
            try:
                if move.status != "cleaning":
                    move = await self._moved(move)
                await self._clean(move)
            except StorageFailed as error:
                logger.warning(
                    "the move of an agent is given up",
                    extra={"agent": move.agent_id, "group": move.target, "cause": error.detail},
                )
                if move.status == "cleaning":
                    raise  # it is there; what it left is removed later
                move = replace(move, is_given_up=True, detail=error.detail)
                await self._ledger.note([move])
            else:
                return
        await self._give_up(move)

    async def _give_up(self, move: Move) -> None:
        """Leave the agent where it is, and remove the copy, unless it has been handed over."""
        attempt = await self._begun(move)
        if attempt is None:
            await self._ledger.note([replace(move, is_given_up=False)])  # it is completed
            return
        await self._erase(attempt.part)
        await attempt.part.release()
        await self._staying(move, attempt.number).release()
        await self._ledger.note([replace(move, status="failed", copied=None)])

    async def _begun(self, move: Move) -> _Attempt | None:
        """Begin an attempt on both sides, which ends any other. None if the agent has left for
        good. Raise AttemptEnded or StorageError."""
        source, target = self._shards.group(move.source), self._shards.group(move.target)
        number = int(await self._begin.run(source.master.probe, [keys.MOVING], (move.agent_id,)))
        if number == 0:
            return None
        part = await GuardedPart.arriving(target.master.probe, move.agent_id, number)
        if not await self._staying(move, number).is_held():
            await part.release()  # meanwhile another attempt has begun, or even ended
            raise AttemptEnded("Another attempt at this move has begun.", retry_after_s=1)
        return _Attempt(number, part)

    async def _moved(self, move: Move) -> Move:
        """Bring the agent to the target. Return the move as noted."""
        source = self._shards.group(move.source)
        attempt = await self._begun(move)
        held_since_s = time.monotonic()
        if attempt is not None:
            copy = AgentCopy(source.master.probe, attempt.part, self._indexes)
            move, held_since_s = await self._copied(move, copy, attempt.number)
        # Otherwise a new master of the source might accept writes that nobody copies.
        await self._until_replicated(source, move)
        return await self._switched(move, held_since_s)

    async def _copied(self, move: Move, copy: AgentCopy, attempt: int) -> tuple[Move, float]:
        """Copy until the source has handed the agent over. Return the move as noted, and since when
        writes are held back (monotonic)."""
        for _ in range(TRIES):
            try:
                move, copied = await self._bulk(move, copy)
                for number in range(ROUNDS):
                    hold_ms = min(MAX_HOLD_MS, HOLD_MS + number * HOLD_MS // 2)
                    held_since_s = time.monotonic()
                    try:
                        await self._hand_over(move, copy, copied, attempt, hold_ms)
                    except _TookTooLong:
                        logger.info(
                            "writes were not held back long enough for a move's last step",
                            extra={"agent": move.agent_id, "hold_ms": hold_ms},
                        )
                        await self._catch_up(copy, copied)
                        continue
                    return move, held_since_s
            except FeedTrimmed:
                logger.info("a move begins again", extra={"agent": move.agent_id})
                move = replace(move, copied=None)
                await self._ledger.note([move])
        raise StorageFailed(
            f"The copy of agent {move.agent_id} never was the same as its memory: see the log and "
            "`./memory check`, then ask for the move again."
        )

    async def _bulk(self, move: Move, copy: AgentCopy) -> tuple[Move, Copied]:
        """Copy all, while the agent works, and compare. A copy that was interrupted continues."""
        whole, copied = await copy.size(), move.copied
        if copied is None or not await copy.has_begun():
            copied = await copy.prepare()
        async for _ in copy.copy_all(copied):
            await self._stay_in_turn()
            part = min(0.9, 0.9 * copied.memories / max(1, whole))
            move = replace(
                move, status="copying", copied=copied, progress=round(part, 3), detail=None
            )
            await self._ledger.note([move])
        await copy.copy_retired()
        await self._catch_up(copy, copied)
        different = await copy.differing()
        await self._stay_in_turn()
        await copy.copy_again(different)
        await self._catch_up(copy, copied)
        await copy.begin_feed()
        for name in (move.source, move.target):  # one that hangs would hold writes back long
            await self._until_replicated(self._shards.group(name), move)
        move = replace(move, status="switching", progress=0.95)
        await self._ledger.note([move])
        return move, copied

    async def _stay_in_turn(self) -> None:
        """Keep other processes from making moves. Attempts are told apart without that, too."""
        with suppress(Overloaded):
            await self._job_lock.hold(JOB, TURN_S)

    async def _catch_up(self, copy: AgentCopy, copied: Copied) -> None:
        """Copy changes until few are left, or as many come as are copied."""
        before = ENTRIES
        for _ in range(ROUNDS):
            await self._stay_in_turn()
            count = len(await copy.catch_up(copied))
            if count <= FEW or before <= count < ENTRIES:
                return
            before = count

    async def _hand_over(
        self,
        move: Move,
        copy: AgentCopy,
        copied: Copied,
        attempt: int,
        hold_ms: int,
    ) -> None:
        """Hold writes back, copy the last changes, compare, and keep writes back for good.

        Raise _TookTooLong if writes went on meanwhile.
        """
        source = self._shards.group(move.source)
        agent_id, before = move.agent_id, copied.position
        began_s = time.monotonic()
        if await self._held(source, agent_id, attempt, "leaving", hold_ms) != 1:
            raise AttemptEnded("Another attempt at this move has begun.", retry_after_s=1)
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
            await self._held(source, agent_id, attempt, "leaving", 0)
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
        await self._until_replicated(self._shards.group(move.target), move)
        if await self._held(source, agent_id, attempt, "moved", move.target) == 0:
            raise _TookTooLong

    async def _switched(self, move: Move, held_since_s: float) -> Move:
        """Make the target the agent's place, and let it be written to there.

        A process that hears one of the three groups hears of it before the first write there.
        """
        source, target = self._shards.group(move.source), self._shards.group(move.target)
        move = await self._ledger.switch(move, time.time())
        told: list[Words] = [("PUBLISH", CHANNEL, moved_message(move.agent_id, move.target))]
        await ask_all(source.master.probe, told)
        await self._shards.open(target, move.agent_id)
        held_ms = (time.monotonic() - held_since_s) * MS_PER_S
        await ask_all(target.master.probe, told)
        await self._left(move).remove((), removes_name=True)
        logger.info(
            "agent moved",
            extra={
                "agent": move.agent_id,
                "from": move.source,
                "to": move.target,
                "held_ms": round(held_ms, 1),
            },
        )
        return move

    async def _clean(self, move: Move) -> None:
        """Open the target, and remove the source's copy once every process must know."""
        await self._shards.open(self._shards.group(move.target), move.agent_id)
        if time.time() < (move.switched_at or 0) + GRACE_S:
            return  # a later run removes it; other agents move meanwhile
        await self._erase(self._left(move))
        await self._ledger.note([replace(move, status="done", progress=1.0, detail=None)])

    async def _until_replicated(self, shard: Shard, move: Move) -> None:
        """Wait until every replica that may become the master has all that was written there so
        far. Raise StorageError."""
        await self._shards.until_replicated(shard, move.agent_id, shard.master.probe)

    async def _held(
        self, source: Shard, agent_id: str, attempt: int, state: str, argument: str | int
    ) -> int:
        """Change what holds the agent's writes back at the source. Return the script's reply."""
        words = (agent_id, attempt, state, argument)
        return int(await self._hold.run(source.master.probe, [keys.MOVING], words))

    async def _erase(self, part: GuardedPart) -> None:
        schema = self._indexes.episodic(part.agent_id).as_("FLAT")
        await erase(part, schema, retired_of(self._indexes, part.agent_id))

    def _staying(self, move: Move, attempt: int) -> GuardedPart:
        """Return what the agent has where it is, as long as this attempt is the latest."""
        source = self._shards.group(move.source).master.probe
        return GuardedPart(source, move.agent_id, f"copying {attempt}")

    def _left(self, move: Move) -> GuardedPart:
        """Return what the agent has left behind."""
        source = self._shards.group(move.source).master.probe
        return GuardedPart(source, move.agent_id, f"moved {move.target}")
