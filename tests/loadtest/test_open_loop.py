"""Against real servers on loopback that stall on purpose."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench.http_client import ConnectionPool, post_request
from bench.open_loop import TimedRequest, closed_loop, open_loop

ANSWER = b'{"memories":[],"count":0,"exact":true,"partial":false,"cached":false}'


class StallingServer:
    """Answers nothing until `stalled` requests are there, then everything."""

    def __init__(self, stalled: int, status: int = 200) -> None:
        self.seen = 0
        self._stalled = stalled
        self._status = status
        self._all_there = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            self.seen += 1
            if self.seen >= self._stalled:
                self._all_there.set()
            await self._all_there.wait()
            line = f"HTTP/1.1 {self._status} X\r\nContent-Length: {len(ANSWER)}\r\n\r\n"
            writer.write(line.encode() + ANSWER)
        writer.close()


@asynccontextmanager
async def serving(server: StallingServer) -> AsyncIterator[str]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        await listening.wait_closed()


def timed(url: str, count: int, every_s: float) -> list[TimedRequest]:
    request = post_request(url, "/search", b"{}")
    return [
        TimedRequest(i * every_s, request, kind="search", agent=0, item=i, is_search=True)
        for i in range(count)
    ]


async def test_an_open_loop_goes_on_asking_during_a_stall() -> None:
    server = StallingServer(stalled=20)
    async with serving(server) as url:
        # A loop that waited for the first answer would never send the twentieth request.
        samples = await open_loop(url, timed(url, 20, 0.01), warm_up=[], watched={})
    assert len(samples.requests) == 20
    by_item = sorted(samples.requests, key=lambda r: r.item)
    assert [r.due_ms for r in by_item] == pytest.approx([10.0 * i for i in range(20)])
    # All were held until the last was there: each waited from when it was due.
    for request in by_item:
        assert request.done_ms - request.due_ms >= 190 - request.due_ms


async def test_requests_wait_for_a_free_connection() -> None:
    server = StallingServer(stalled=1)
    async with serving(server) as url:
        pool = ConnectionPool(url, limit=1)
        first, second = await asyncio.gather(
            *(pool.send(post_request(url, "/", b"{}")) for _ in "ab")
        )
        pool.close()
    assert first.status == second.status == 200
    assert server.seen == 2


async def test_a_closed_loop_stops_asking_during_a_stall() -> None:
    server = StallingServer(stalled=3)
    async with serving(server) as url:
        requests = [[(i, post_request(url, "/search", b"{}")) for i in range(5)] for _ in range(3)]
        samples = await closed_loop(url, requests, kind="search", warm_up=2, watched={})
    assert server.seen == 15
    assert sorted(r.item for r in samples.requests) == [2, 2, 2, 3, 3, 3, 4, 4, 4]


async def test_failures_are_counted_and_have_no_answer() -> None:
    async with serving(StallingServer(stalled=1, status=503)) as url:
        samples = await open_loop(url, timed(url, 3, 0.0), warm_up=[], watched={})
    assert samples.failures == {"status 503": 3}
    assert not samples.answers
    assert not any(r.is_ok for r in samples.requests)


async def test_a_server_that_is_gone_is_a_failure() -> None:
    async with serving(StallingServer(stalled=1)) as url:
        pass
    requests = timed(url, 2, 0.0)
    samples = await open_loop(url, requests, warm_up=[], watched={}, connections=0)
    assert sum(samples.failures.values()) == 2


async def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(answer_once, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    pool = ConnectionPool(url)
    for _ in range(3):
        assert (await pool.send(post_request(url, "/", b"{}"))).body == b"{}"
        await asyncio.sleep(0.02)
    server.close()
    await server.wait_closed()
