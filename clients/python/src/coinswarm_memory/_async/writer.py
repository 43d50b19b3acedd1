"""Stores experiences that come one by one, in batches."""

import os
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self, Unpack

from coinswarm_memory._async.bulk import BatchStore
from coinswarm_memory._async.caller import AsyncCaller
from coinswarm_memory._async.lanes import AsyncLanes, AsyncLock, AsyncTicker
from coinswarm_memory.answers import BulkReport
from coinswarm_memory.encode.experience import ExperienceFields, experience
from coinswarm_memory.encode.vectors import ArrayLike
from coinswarm_memory.errors import ItemsRefused, WriterOfAnotherProcess
from coinswarm_memory.operations.batch import MAX_BATCH, Batch


class AsyncWriter:
    """Gathers experiences and stores them. Use it as a context manager; leaving it stores the rest.

    `append` waits while `in_flight` batches are in progress. The error of a batch that fails for
    good is raised by the next call or on leaving, refused rows on leaving (ItemsRefused). `report`
    has the counts so far. In a process that is forked meanwhile, `append` and `flush` raise
    WriterOfAnotherProcess, and leaving stores nothing: the process that opened it does.
    """

    def __init__(
        self,
        caller: AsyncCaller,
        agent_id: str,
        *,
        batch: int,
        flush_s: float,
        in_flight: int,
        patience_s: float,
        durability: str | None,
    ) -> None:
        self.report = BulkReport()
        self._caller = caller
        self._agent_id = agent_id
        self._size = min(batch, MAX_BATCH)
        self._appended = 0
        self._waiting = Batch(agent_id, [], [])
        self._lock = AsyncLock()
        store = BatchStore(caller, self.report, patience_s=patience_s, durability=durability)
        self._lanes = AsyncLanes(in_flight, store.store)
        self._ticker = AsyncTicker(flush_s, self._send_waiting)
        self._open = AsyncExitStack()
        self._process = os.getpid()

    async def __aenter__(self) -> Self:
        self._require_own_process()
        await self._open.enter_async_context(self._lanes)
        await self._open.enter_async_context(self._ticker)
        return self

    async def append(self, state: ArrayLike, **fields: Unpack[ExperienceFields]) -> str:
        """Add one experience, as `remember` takes it, and return its id.

        Raises InvalidVector, InvalidTime and InvalidRows at once, for this row alone.
        """
        self._require_own_process()
        body = experience(self._agent_id, state, fields, await self._caller.dimension())
        async with self._lock:
            self._waiting.memories.append(body)
            self._waiting.positions.append(self._appended)
            self._appended += 1
            if len(self._waiting.memories) >= self._size:
                await self._start()
        name: str = body["id"]
        return name

    async def flush(self) -> None:
        """Store all that was appended, and wait until it is confirmed."""
        self._require_own_process()
        await self._send_waiting()
        await self._lanes.wait()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if os.getpid() != self._process:
            return
        try:
            if kind is None or issubclass(kind, Exception):
                await self.flush()
        finally:
            await self._open.__aexit__(kind, error, at)
        if kind is None and self.report.refused:
            raise ItemsRefused(self.report.refused)

    def _require_own_process(self) -> None:
        """Raise WriterOfAnotherProcess in a forked process: there are no threads, and no loop."""
        if os.getpid() != self._process:
            raise WriterOfAnotherProcess(
                "This writer belongs to the process that opened it, which stores what was appended "
                "there: open another writer in this process."
            )

    async def _send_waiting(self) -> None:
        async with self._lock:
            if self._waiting.memories:
                await self._start()

    async def _start(self) -> None:
        batch, self._waiting = self._waiting, Batch(self._agent_id, [], [])
        await self._lanes.start(batch)
