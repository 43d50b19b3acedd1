"""Load from the lean client: an open loop for the trading day, a closed one for a swarm.

An open loop sends each request when it is due, whether or not earlier ones were answered, and
counts its latency from when it was due. So a stall of the service counts for every request that
it would have delayed, where a closed loop stops asking and counts one ("coordinated omission").
"""

import asyncio
import gc
import selectors
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from bench.http_client import ConnectionPool, Reply
from bench.processor_time import ProcessorClock
from bench.samples import MAX_ANSWERS, RawAnswer, Request, Samples, parse_answers

T = TypeVar("T")


class Timeline:
    """One measured run: sends requests, notes when, and keeps some answers."""

    def __init__(
        self, pool: ConnectionPool, watched: Mapping[str, list[int]], *, max_answers: int
    ) -> None:
        self._pool = pool
        self._clock = ProcessorClock(watched)
        self._max_answers = max_answers
        self._started_at = 0.0
        self._answers: list[RawAnswer] = []
        self._samples = Samples()

    def begin(self) -> None:
        """Start the clock."""
        gc.collect()
        gc.freeze()
        self._clock.start()
        self._started_at = time.perf_counter()

    def now_ms(self) -> float:
        """Return the milliseconds since `begin`."""
        return (time.perf_counter() - self._started_at) * 1000

    async def send(
        self, request: bytes, *, kind: str, agent: int, item: int, due_ms: float, is_search: bool
    ) -> None:
        """Send one request, and record it whatever becomes of it."""
        sent_ms = self.now_ms()
        try:
            reply = await self._pool.send(request)
        except OSError as error:
            self._samples.failures[type(error).__name__] += 1
            reply = Reply(0, b"")
        done_ms = self.now_ms()
        is_ok = 200 <= reply.status < 300
        if reply.status and not is_ok:
            self._samples.failures[f"status {reply.status}"] += 1
        if is_ok and is_search and len(self._answers) < self._max_answers:
            self._answers.append(RawAnswer(len(self._samples.requests), reply.body))
        self._samples.requests.append(Request(kind, agent, item, due_ms, sent_ms, done_ms, is_ok))

    def end(self) -> Samples:
        """Stop the clock and return what was measured."""
        self._samples.processor = self._clock.stop()
        gc.unfreeze()
        self._samples.answers = parse_answers(self._answers)
        return self._samples


class TimedRequest:
    """A request that is due at `due_s` after the start."""

    __slots__ = ("agent", "due_s", "is_search", "item", "kind", "request")

    def __init__(
        self, due_s: float, request: bytes, *, kind: str, agent: int, item: int, is_search: bool
    ) -> None:
        self.due_s = due_s
        self.request = request
        self.kind = kind
        self.agent = agent
        self.item = item
        self.is_search = is_search


async def open_loop(
    url: str,
    requests: Sequence[TimedRequest],
    *,
    warm_up: Sequence[bytes],
    watched: Mapping[str, list[int]],
    connections: int = 10,
    max_answers: int = MAX_ANSWERS,
) -> Samples:
    """Send `requests`, in order of time, each when it is due; before that `warm_up`, unmeasured."""
    pool = ConnectionPool(url)
    await pool.open(connections)
    for request in warm_up:
        await pool.send(request)
    timeline = Timeline(pool, watched, max_answers=max_answers)
    timeline.begin()
    async with asyncio.TaskGroup() as group:
        for timed in requests:
            wait_s = timed.due_s - timeline.now_ms() / 1000
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            sending = timeline.send(
                timed.request,
                kind=timed.kind,
                agent=timed.agent,
                item=timed.item,
                due_ms=timed.due_s * 1000,
                is_search=timed.is_search,
            )
            group.create_task(sending)
    samples = timeline.end()
    pool.close()
    return samples


async def closed_loop(
    url: str,
    requests: Sequence[Sequence[tuple[int, bytes]]],
    *,
    kind: str,
    warm_up: int,
    watched: Mapping[str, list[int]],
    max_answers: int = MAX_ANSWERS,
) -> Samples:
    """Send `requests[agent]`, (item, request) pairs, one after the other for each agent.

    The first `warm_up` of each agent are not measured.
    """
    pool = ConnectionPool(url)
    await pool.open(len(requests))
    await asyncio.gather(*(_warm_up(pool, own[:warm_up]) for own in requests))
    timeline = Timeline(pool, watched, max_answers=max_answers)
    timeline.begin()

    async def run_agent(agent: int) -> None:
        for item, request in requests[agent][warm_up:]:
            await timeline.send(
                request,
                kind=kind,
                agent=agent,
                item=item,
                due_ms=timeline.now_ms(),
                is_search=True,
            )

    async with asyncio.TaskGroup() as group:
        for agent in range(len(requests)):
            group.create_task(run_agent(agent))
    samples = timeline.end()
    pool.close()
    return samples


async def _warm_up(pool: ConnectionPool, requests: Sequence[tuple[int, bytes]]) -> None:
    for _, request in requests:
        await pool.send(request)


def run_precisely(main: Callable[[], Awaitable[T]]) -> T:
    """Run on a loop whose timers are exact to a fraction of a millisecond.

    epoll, the usual choice, counts in whole milliseconds: requests would leave up to one late.
    """

    async def started() -> T:
        return await main()

    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
    ) as runner:
        return runner.run(started())
