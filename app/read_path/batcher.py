"""Sends questions that are waiting for Redis in one round trip.

While nothing is in flight, a question goes out in its caller's own task, without a future, a task
or a turn of the event loop. Otherwise it queues. While fewer than `max_in_flight` round trips are
in progress, a new one begins in the event loop's next turn and takes whatever is in the queue by
then. A round trip that returns is followed by the next one, before its own answers are written. One
more begins when the oldest question has waited for `window_ms`, or when `max_batch` are waiting. So
an idle service adds no delay, and a busy one batches by itself.

Each group of Redis has a queue of its own, so with several groups fewer questions share a round
trip. While other groups are asked, no question goes out alone, and a round trip begins
GATHERED_TURNS turns of the event loop later, unless it is full. A turn takes as long as the process
works on other requests, and no time otherwise. No group's answer is waited for.

Every caller gets an answer or an error on every path. The number of waiting questions, here or at
Redis, is bounded; a question beyond the bound, or one that cannot be answered before its deadline,
is refused at once.

There are two queues: one for questions that any node may answer, one for all others. A round trip
ends when all its questions are answered. One that only the master may answer lasts as long as a
hanging master may take; answers from replicas do not wait for it.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from app.context import remaining_s
from app.errors import DeadlineExceeded, MemoryServiceError, Overloaded, StorageFailed
from app.metrics import BATCH_SIZE, BATCH_WAITING
from app.model import Answer, Question
from app.read_path.stage import Recall, RecallBatch, partition_of

logger = logging.getLogger(__name__)

MAX_WIDE_IN_FLIGHT = 2
"""How many questions over many partitions Redis handles at a time, besides all others."""

Outcomes = Sequence[Answer | MemoryServiceError]

GATHERED_TURNS = 6
"""Turns of the event loop for which questions are gathered while other groups are asked."""

SMOOTHING = 0.2
"""Weight of the latest round trip in the moving average of their durations."""


class Traffic:
    """The round trips of several batchers: how many are in progress, and those that gather.

    One callback counts the turns of the event loop for all that gather.
    """

    def __init__(self) -> None:
        self.under_way = 0
        self._turn = 0
        self._gathering: deque[tuple[int, asyncio.Future[None]]] = deque()

    def set_off(self) -> None:
        """Count a round trip that begins."""
        self.under_way += 1

    def came_back(self) -> None:
        """Count a round trip that is over."""
        self.under_way -= 1

    def gather(self) -> asyncio.Future[None]:
        """Return a future that is done after GATHERED_TURNS turns. It may be set earlier."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        if not self._gathering:
            loop.call_soon(self._next_turn, loop)
        self._gathering.append((self._turn + GATHERED_TURNS, future))
        return future

    def _next_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._turn += 1
        while self._gathering:
            until, future = self._gathering[0]
            if until > self._turn and not future.done():
                loop.call_soon(self._next_turn, loop)
                break
            self._gathering.popleft()
            if not future.done():
                future.set_result(None)


@dataclass(slots=True)
class _Waiter:
    question: Question
    future: asyncio.Future[Answer]
    since_s: float


class BatchingRecall:
    """Combines single questions into round trips. `window_ms` limits the wait for a busy Redis.

    Batchers of several groups share one `traffic`.
    """

    def __init__(
        self,
        following: RecallBatch,
        *,
        window_ms: float,
        max_batch: int,
        max_in_flight: int,
        max_waiting: int,
        traffic: Traffic | None = None,
    ) -> None:
        self._following = following
        self._window_s = window_ms / 1000
        self._max_batch = max_batch
        self._max_in_flight = max_in_flight
        self._max_waiting = max_waiting
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[_Waiter] = deque()
        self._shown = 0
        self._traffic = traffic or Traffic()
        self._under_way = 0
        self._boarding = 0  # round trips that have not taken their questions yet
        self._gathers: asyncio.Future[None] | None = None
        self._asked = 0  # questions in flight
        self._flights: set[asyncio.Task[None]] = set()
        self._wide_flights: set[asyncio.Task[None]] = set()
        self._wide_gate = asyncio.Semaphore(MAX_WIDE_IN_FLIGHT)
        self._mean_flight_s = 0.0
        self._window: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._all_landed = asyncio.Event()

    async def recall(self, question: Question) -> Answer:
        """Return the answer after the shortest possible wait.

        Raise Overloaded if the queue is full, DeadlineExceeded if the answer would come too late,
        and what the next stage raises.
        """
        self._refuse_early()
        if not self._traffic.under_way and not self._waiting and partition_of(question) is not None:
            return await self._go_alone(question)
        loop = self._loop
        if loop is None:  # looked up once: in Python 3.11 that is a system call
            loop = self._loop = asyncio.get_running_loop()
        waiter = _Waiter(question, loop.create_future(), time.monotonic())
        self._waiting.append(waiter)
        if self._gathers is not None and self._is_full() and not self._gathers.done():
            self._gathers.set_result(None)
        self._send_while_free()
        return await waiter.future

    async def aclose(self) -> None:
        """Refuse the questions that are waiting, and wait for those in flight."""
        self._is_closed = True
        for waiter in self._waiting:
            if not waiter.future.done():
                waiter.future.set_exception(_shutting_down())
        self._waiting.clear()
        self._show_waiting()
        if self._window is not None:
            self._window.cancel()
        await asyncio.gather(*self._flights, *self._wide_flights, return_exceptions=True)
        if self._under_way:  # in a caller's own task
            await self._all_landed.wait()

    def _refuse_early(self) -> None:
        if self._is_closed:
            raise _shutting_down()
        if len(self._waiting) + self._asked + len(self._wide_flights) >= self._max_waiting:
            raise Overloaded(
                f"{self._max_waiting} questions are already waiting: try again shortly, or add "
                "replicas or workers.",
                retry_after_s=1,
            )
        left_s = remaining_s()
        if left_s is None:
            return
        # At most max_in_flight: each duration already includes the wait for the others at Redis.
        under_way = min(self._under_way, self._max_in_flight)
        rounds_ahead = len(self._waiting) // self._max_batch + under_way
        if left_s <= rounds_ahead / self._max_in_flight * self._mean_flight_s:
            raise DeadlineExceeded("The question would be answered too late: allow more time.")

    def _window_over(self) -> None:
        self._window = None
        if self._waiting:
            self._begin_flight()
            self._send_while_free()

    def _may_begin(self) -> bool:
        """Return whether a round trip may begin for those whom no beginning one will take along."""
        left = len(self._waiting) - self._boarding * self._max_batch
        return left > 0 and (self._under_way < self._max_in_flight or left >= self._max_batch)

    def _send_while_free(self) -> None:
        while self._may_begin():
            self._begin_flight()
        if self._waiting and self._window is None and not self._boarding:
            waited_s = time.monotonic() - self._waiting[0].since_s
            loop = asyncio.get_running_loop()
            self._window = loop.call_later(self._window_s - waited_s, self._window_over)
        self._show_waiting()

    def _show_waiting(self) -> None:
        # Add the difference, because several batchers (two per shard) share the gauge.
        if self._shown != len(self._waiting):
            BATCH_WAITING.inc(len(self._waiting) - self._shown)
            self._shown = len(self._waiting)

    def _begin_flight(self) -> None:
        # An empty context, because the deadline of the caller who filled the batch must not
        # apply to the others.
        flight = asyncio.create_task(self._flights_in_turn(), context=Context())
        self._flights.add(flight)
        self._boarding += 1
        self._set_off()
        flight.add_done_callback(self._landed)

    def _set_off(self) -> None:
        self._under_way += 1
        self._traffic.set_off()

    def _return(self) -> None:
        self._under_way -= 1
        self._traffic.came_back()

    def _is_full(self) -> bool:
        """Return whether enough questions wait for all round trips that have not taken theirs."""
        return len(self._waiting) >= self._boarding * self._max_batch

    async def _gathered(self) -> list[_Waiter]:
        """Return the next batch. While other groups are asked, give more questions time to come."""
        try:
            if self._traffic.under_way > self._under_way and not self._is_full():
                self._gathers = self._traffic.gather()
                await self._gathers
        finally:
            self._gathers = None
            self._boarding -= 1
        return self._take_batch()

    def _take_batch(self) -> list[_Waiter]:
        batch: list[_Waiter] = []
        while self._waiting and len(batch) < self._max_batch:
            waiter = self._waiting.popleft()
            if waiter.future.done():  # its caller has left
                continue
            if partition_of(waiter.question) is None:
                # A question over many partitions takes long; the others do not wait for it.
                self._fly_wide(waiter)
            else:
                batch.append(waiter)
        self._show_waiting()
        return batch

    def _fly_wide(self, waiter: _Waiter) -> None:
        flight = asyncio.create_task(self._wide_flight(waiter), context=Context())
        self._wide_flights.add(flight)
        flight.add_done_callback(self._landed)

    async def _wide_flight(self, waiter: _Waiter) -> None:
        outcomes: Outcomes = [_failed()]
        try:
            async with self._wide_gate:
                if not waiter.future.done():
                    outcomes = await self._ask([waiter])
        finally:
            _resolve([waiter], outcomes)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        self._wide_flights.discard(flight)
        error = None if flight.cancelled() else flight.exception()
        if error is not None:
            logger.error("a batch failed", exc_info=error)

    async def _go_alone(self, question: Question) -> Answer:
        """Answer one question in its caller's task."""
        BATCH_SIZE.observe(1)
        self._set_off()
        self._asked += 1
        started_s = time.monotonic()
        try:
            outcomes = await self._following.recall_many([question])
            self._took(time.monotonic() - started_s)
        finally:
            self._return()
            self._asked -= 1
            if self._waiting:
                self._send_while_free()
            elif self._is_closed:
                self._all_landed.set()
        outcome = outcomes[0] if len(outcomes) == 1 else _failed()
        if isinstance(outcome, MemoryServiceError):
            raise outcome
        return outcome

    async def _flights_in_turn(self) -> None:
        """Make one round trip after the other, as long as questions are waiting."""
        try:
            await self._flight(await self._gathered())
            while self._waiting and self._under_way <= self._max_in_flight:
                self._boarding += 1
                await self._flight(await self._gathered())
        finally:
            self._return()
            self._send_while_free()

    async def _flight(self, batch: list[_Waiter]) -> None:
        if not batch:
            return
        started_s = time.monotonic()
        self._asked += len(batch)
        outcomes: Outcomes = [_failed()] * len(batch)
        try:
            outcomes = await self._ask(batch)
            self._took(time.monotonic() - started_s)
        finally:
            self._asked -= len(batch)
            _resolve(batch, outcomes)

    def _took(self, flight_s: float) -> None:
        self._mean_flight_s += SMOOTHING * (flight_s - self._mean_flight_s)

    async def _ask(self, batch: list[_Waiter]) -> Outcomes:
        BATCH_SIZE.observe(len(batch))
        started_s = time.monotonic()
        for waiter in batch:
            if waiter.question.trace is not None:
                waiter.question.trace.batch_size = len(batch)
                waiter.question.trace.waiting_ms = (started_s - waiter.since_s) * 1000
        try:
            answers = await self._following.recall_many([waiter.question for waiter in batch])
        except MemoryServiceError as error:
            return [error] * len(batch)
        return answers if len(answers) == len(batch) else [_failed()] * len(batch)


def _resolve(batch: Sequence[_Waiter], outcomes: Outcomes) -> None:
    """Give each waiter its own outcome."""
    for waiter, answer in zip(batch, outcomes, strict=True):
        if waiter.future.done():  # its caller has left
            continue
        if isinstance(answer, MemoryServiceError):
            waiter.future.set_exception(answer)
        else:
            waiter.future.set_result(answer)


def _failed() -> StorageFailed:
    return StorageFailed("The search failed: see the service's log.")


def _shutting_down() -> Overloaded:
    return Overloaded("The service is shutting down: use another one.", retry_after_s=1)


class ByConsistency:
    """Sends `eventual` questions to one stage, and those that need more to the other."""

    def __init__(self, eventual: Recall, others: Recall) -> None:
        self._eventual = eventual
        self._others = others

    def recall(self, question: Question) -> Coroutine[Any, Any, Answer]:
        """Return the answer of the stage for the question's consistency."""
        lane = self._eventual if question.consistency == "eventual" else self._others
        return lane.recall(question)
