"""A closed loop of HTTP requests: each connection asks again as soon as it is answered.

Requests are finished HTTP/1.1 bytes and answers are only looked at for their status and length, so
that the generator takes as little of the machine as Python can; it reports its own share.
"""

import asyncio
import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import uvloop

GIVE_UP_AFTER_S = 30.0
"""Longest wait for the answers still due when the time is over."""


class LoadFailed(Exception):
    """An answer was not the expected one, or none came."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request as it goes over the wire. `kind` names the figures that it counts in."""

    kind: str
    wire: bytes = field(repr=False)


Source = Callable[[], HttpRequest]


@dataclass(frozen=True, slots=True)
class Load:
    """Connections that ask together: each gets the same request, the next once all are answered.

    `pause_s` is the wait between an answer and the next question.
    """

    source: Source
    connections: int = 1
    pause_s: float = 0.0


@dataclass(slots=True)
class Figures:
    """What a run gave. Latencies in ms by kind; `elapsed_s` is the counted time.

    `processor_s` is the processor time of the processes under test within it; NaN: not known.
    """

    elapsed_s: float
    generator_share: float
    processor_s: float = math.nan
    cached: int = 0
    latencies_ms: dict[str, list[float]] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Answers per second, of every kind."""
        return sum(map(len, self.latencies_ms.values())) / self.elapsed_s

    @property
    def processor_us(self) -> float:
        """Processor time under test for each answer, of every kind, in microseconds."""
        return self.processor_s / sum(map(len, self.latencies_ms.values())) * 1e6

    def rate_of(self, kind: str) -> float:
        """Return the answers of this kind per second."""
        return len(self.latencies_ms.get(kind, ())) / self.elapsed_s

    def percentile_ms(self, kind: str, percent: float) -> float:
        """Return a percentile of this kind's latencies."""
        return float(np.percentile(self.latencies_ms[kind], percent))


def post(path: str, body: bytes, *, kind: str) -> HttpRequest:
    """Return a POST of JSON."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return HttpRequest(kind, head.encode() + body)


def run(
    port: int,
    loads: Sequence[Load],
    *,
    seconds: float,
    warm_up_s: float = 0.1,
    used_s: Callable[[], float] = lambda: math.nan,
) -> Figures:
    """Put these loads on a service at once. Raises LoadFailed for any answer but 200 and 201.

    `used_s` tells the processor time that the processes under test have used so far.
    """
    gc.collect()
    gc.disable()
    try:
        return uvloop.run(_ClosedLoop(port, seconds, warm_up_s, used_s).run(loads))
    finally:
        gc.enable()


class _ClosedLoop:
    def __init__(
        self, port: int, seconds: float, warm_up_s: float, used_s: Callable[[], float]
    ) -> None:
        self._port = port
        self._used_s = used_s
        self._seconds = seconds
        self._warm_up_s = warm_up_s
        self._failure: str | None = None
        self._is_over = False

    async def run(self, loads: Sequence[Load]) -> Figures:
        loop = asyncio.get_running_loop()
        groups = [_Group(load, self._answered) for load in loads]
        for group in groups:
            for _ in range(group.load.connections):
                connection = _Connection(group)
                await loop.create_connection(connection.itself, "127.0.0.1", self._port)
                group.connections.append(connection)
        self._figures = Figures(self._seconds, 0.0)
        now = time.perf_counter()
        self._count_from_s, self._count_to_s = (
            now + self._warm_up_s,
            now + self._warm_up_s + self._seconds,
        )
        for group in groups:
            group.ask()
        await asyncio.sleep(self._warm_up_s)
        used_s = self._used_s()
        started_s, processor_s = time.perf_counter(), time.process_time()
        await asyncio.sleep(self._seconds)
        share = (time.process_time() - processor_s) / (time.perf_counter() - started_s)
        self._figures.generator_share = share
        self._figures.processor_s = self._used_s() - used_s
        await self._finish(groups)
        return self._figures

    async def _finish(self, groups: Sequence["_Group"]) -> None:
        self._is_over = True
        give_up_at = time.perf_counter() + GIVE_UP_AFTER_S
        while any(group.due for group in groups) and self._failure is None:
            if time.perf_counter() > give_up_at:
                self._failure = f"no answer within {GIVE_UP_AFTER_S:g} s"
            await asyncio.sleep(0.002)
        for group in groups:
            for connection in group.connections:
                connection.close()
        if self._failure is not None:
            raise LoadFailed(self._failure)

    def _answered(self, kind: str, sent_at_s: float, answer: bytes) -> bool:
        """Count an answer, and return whether to continue."""
        now = time.perf_counter()
        if answer[9:12] not in {b"200", b"201"}:
            self._failure = answer[:2000].decode(errors="replace")
            return False
        if self._count_from_s <= now < self._count_to_s:
            self._figures.latencies_ms.setdefault(kind, []).append((now - sent_at_s) * 1000)
            if answer.find(b'"cached":true', -120) >= 0:
                self._figures.cached += 1
        return not self._is_over


class _Group:
    """The connections of one load."""

    def __init__(self, load: Load, answered: Callable[[str, float, bytes], bool]) -> None:
        self.load = load
        self.connections: list[_Connection] = []
        self.due = 0
        self._answered = answered
        self._kind = ""

    def ask(self) -> None:
        if self.connections[0].is_closed:  # the run ended during the pause
            return
        request = self.load.source()
        self._kind = request.kind
        self.due = len(self.connections)
        for connection in self.connections:
            connection.send(request.wire)

    def answered(self, sent_at_s: float, answer: bytes) -> None:
        goes_on = self._answered(self._kind, sent_at_s, answer)
        self.due -= 1
        if self.due == 0 and goes_on:
            if self.load.pause_s:
                asyncio.get_running_loop().call_later(self.load.pause_s, self.ask)
            else:
                self.ask()


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request in progress."""

    def __init__(self, group: _Group) -> None:
        self._group = group
        self._received = b""
        self._expected = 0
        self._sent_at_s = 0.0

    def itself(self) -> "_Connection":
        """Return the connection itself: the event loop wants a factory."""
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop has its own class

    def send(self, wire: bytes) -> None:
        self._sent_at_s = time.perf_counter()
        self._transport.write(wire)

    @property
    def is_closed(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        if not self._expected:
            head_end = self._received.find(b"\r\n\r\n")
            if head_end < 0:
                return
            start = self._received.index(b"content-length: ") + 16
            length = int(self._received[start : self._received.index(b"\r", start)])
            self._expected = head_end + 4 + length
        if len(self._received) >= self._expected:
            answer, self._received, self._expected = self._received, b"", 0
            self._group.answered(self._sent_at_s, answer)

    def connection_lost(self, _: Exception | None) -> None:
        """Give up on a connection that the service closed: it answers no more."""
