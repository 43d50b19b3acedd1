"""Stores many experiences in batches, several at a time, and accounts for each row."""

import time

from coinswarm_memory._async.caller import AsyncCaller
from coinswarm_memory._async.lanes import AsyncLanes
from coinswarm_memory._async.wire import sleep
from coinswarm_memory.answers import BulkReport
from coinswarm_memory.encode.rows import Rows
from coinswarm_memory.operations.batch import Batch, count, store_batch
from coinswarm_memory.operations.problem import error_from
from coinswarm_memory.progress import ProgressOption, handler
from coinswarm_memory.retry import Attempts


class BatchStore:
    """Stores batches and counts what became of their rows in `report`."""

    def __init__(
        self, caller: AsyncCaller, report: BulkReport, *, patience_s: float, durability: str | None
    ) -> None:
        self.report = report
        self._caller = caller
        self._patience_s = patience_s
        self._durability = durability

    async def store(self, batch: Batch) -> None:
        """Send a batch, and resend the rows that may be repeated, until each row has its answer.

        Raises the problem that outlasts the patience, or that concerns the batch as a whole.
        """
        self.report.add(created=0, unchanged=0, refused=batch.refused)
        attempts = Attempts(time.monotonic, time.monotonic() + self._patience_s)
        while batch.memories:
            operation = store_batch(batch.memories, self._durability)
            reply = await self._caller.call(operation, max(attempts.remaining_s(), 0.001))
            await self._caller.wrote(batch.agent_id, reply.token)
            counted = count(batch, reply)
            self.report.add(
                created=counted.created, unchanged=counted.unchanged, refused=counted.refused
            )
            batch = counted.again
            if counted.reason is not None:
                error = error_from(counted.reason)
                pause_s = attempts.pause_s(error, repeatable=True)
                if pause_s is None:
                    raise error
                await sleep(pause_s)


async def store_many(
    caller: AsyncCaller,
    rows: Rows,
    *,
    batch: int,
    in_flight: int,
    patience_s: float,
    progress: ProgressOption,
    durability: str | None,
) -> BulkReport:
    """Store all rows; the report counts and names them."""
    report = BulkReport(total=rows.total, on_progress=handler(progress))
    batches = BatchStore(caller, report, patience_s=patience_s, durability=durability)
    async with AsyncLanes(in_flight, batches.store) as lanes:
        for some in rows.batches(batch):
            await lanes.start(some)
    return report
