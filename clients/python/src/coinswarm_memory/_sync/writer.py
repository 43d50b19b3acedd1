"""Stores experiences that come one by one, in batches."""

import os
from contextlib import ExitStack
from types import TracebackType
from typing import Self, Unpack

from coinswarm_memory._sync.bulk import BatchStore
from coinswarm_memory._sync.caller import Caller
from coinswarm_memory._sync.lanes import Lanes, Lock, Ticker
from coinswarm_memory.answers import BulkReport
from coinswarm_memory.encode.experience import ExperienceFields, experience
from coinswarm_memory.encode.vectors import ArrayLike
from coinswarm_memory.errors import ItemsRefused, WriterOfAnotherProcess
from coinswarm_memory.operations.batch import MAX_BATCH, Batch


class Writer:
    """Gathers experiences and stores them. Use it as a context manager; leaving it stores the rest.

    `append` waits while `in_flight` batches are in progress. The error of a batch that fails for
    good is raised by the next call or on leaving, refused rows on leaving (ItemsRefused). `report`
    has the counts so far. In a process that is forked meanwhile, `append` and `flush` raise
    WriterOfAnotherProcess, and leaving stores nothing: the process that opened it does.
    """

    def __init__(
        self,
        caller: Caller,
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
        self._lock = Lock()
        store = BatchStore(caller, self.report, patience_s=patience_s, durability=durability)
        self._lanes = Lanes(in_flight, store.store)
        self._ticker = Ticker(flush_s, self._send_waiting)
        self._open = ExitStack()
        self._process = os.getpid()

    def __enter__(self) -> Self:
        self._require_own_process()
        self._open.enter_context(self._lanes)
        self._open.enter_context(self._ticker)
        return self

    def append(self, state: ArrayLike, **fields: Unpack[ExperienceFields]) -> str:
        """Add one experience, as `remember` takes it, and return its id.

        Raises InvalidVector, InvalidTime and InvalidRows at once, for this row alone.
        """
        self._require_own_process()
        body = experience(self._agent_id, state, fields, self._caller.dimension())
        with self._lock:
            self._waiting.memories.append(body)
            self._waiting.positions.append(self._appended)
            self._appended += 1
            if len(self._waiting.memories) >= self._size:
                self._start()
        name: str = body["id"]
        return name

    def flush(self) -> None:
        """Store all that was appended, and wait until it is confirmed."""
        self._require_own_process()
        self._send_waiting()
        self._lanes.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if os.getpid() != self._process:
            return
        try:
            if kind is None or issubclass(kind, Exception):
                self.flush()
        finally:
            self._open.__exit__(kind, error, at)
        if kind is None and self.report.refused:
            raise ItemsRefused(self.report.refused)

    def _require_own_process(self) -> None:
        """Raise WriterOfAnotherProcess in a forked process: there are no threads, and no loop."""
        if os.getpid() != self._process:
            raise WriterOfAnotherProcess(
                "This writer belongs to the process that opened it, which stores what was appended "
                "there: open another writer in this process."
            )

    def _send_waiting(self) -> None:
        with self._lock:
            if self._waiting.memories:
                self._start()

    def _start(self) -> None:
        batch, self._waiting = self._waiting, Batch(self._agent_id, [], [])
        self._lanes.start(batch)
