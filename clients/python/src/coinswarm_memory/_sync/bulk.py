"""Stores many experiences in batches, several at a time, and accounts for each row."""

import time

from coinswarm_memory._sync.caller import Caller
from coinswarm_memory._sync.lanes import Lanes
from coinswarm_memory._sync.wire import sleep
from coinswarm_memory.answers import BulkReport
from coinswarm_memory.encode.rows import Rows
from coinswarm_memory.operations.batch import Batch, count, store_batch
from coinswarm_memory.operations.problem import error_from
from coinswarm_memory.progress import ProgressOption, handler
from coinswarm_memory.retry import Attempts


class BatchStore:
    """Stores batches and counts what became of their rows in `report`."""

    def __init__(
        self, caller: Caller, report: BulkReport, *, patience_s: float, durability: str | None
    ) -> None:
        self.report = report
        self._caller = caller
        self._patience_s = patience_s
        self._durability = durability

    def store(self, batch: Batch) -> None:
        """Send a batch, and resend the rows that may be repeated, until each row has its answer.

        Raises the problem that outlasts the patience, or that concerns the batch as a whole.
        """
        self.report.add(created=0, unchanged=0, refused=batch.refused)
        attempts = Attempts(time.monotonic, time.monotonic() + self._patience_s)
        while batch.memories:
            operation = store_batch(batch.memories, self._durability)
            reply = self._caller.call(operation, max(attempts.remaining_s(), 0.001))
            self._caller.wrote(batch.agent_id, reply.token)
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
                sleep(pause_s)


def store_many(
    caller: Caller,
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
    with Lanes(in_flight, batches.store) as lanes:
        for some in rows.batches(batch):
            lanes.start(some)
    return report
