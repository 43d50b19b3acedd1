"""What a caller may leave undone on a connection, and for how long."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator

import httpx
import orjson
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from app.settings import Settings
from tests.api.raw_connection import answer_to, connected, read_all
from tests.conftest import DIMENSION, running_service
from tests.kit.service_process import NO_TLS

VECTOR = [1.0, *[0.0] * (DIMENSION - 1)]
SHORT_S = 0.3
POST = b"POST /v1/episodic/search HTTP/1.1\r\nHost: localhost\r\n"
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
async def hasty(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A service that waits for nothing longer than a moment."""
    limits = {"head_timeout_s": SHORT_S, "body_timeout_s": SHORT_S, "write_timeout_s": SHORT_S}
    async with running_service(settings.model_copy(update=limits)) as client:
        yield client


async def trickled(connection: socket.socket, piece: bytes) -> bytes:
    """Send a piece again and again, whatever is answered, until the service closes."""

    async def trickle() -> None:
        with contextlib.suppress(OSError):
            while True:
                await asyncio.get_running_loop().sock_sendall(connection, piece)
                await asyncio.sleep(SHORT_S / 10)

    trickling = asyncio.create_task(trickle())
    try:
        return await read_all(connection)
    finally:
        trickling.cancel()


@pytest.mark.parametrize("sent", [b"", b"\r\n"], ids=["nothing", "an empty line"])
async def test_a_connection_without_a_request_is_closed(
    hasty: httpx.AsyncClient, sent: bytes
) -> None:
    assert await answer_to(hasty, sent) == b""


async def test_an_empty_line_after_an_answer_does_not_keep_the_connection(
    hasty: httpx.AsyncClient,
) -> None:
    loop = asyncio.get_running_loop()
    with connected(hasty) as connection:
        await loop.sock_sendall(connection, LIVEZ + b"\r\n")
        assert (await loop.sock_recv(connection, 4096)).startswith(b"HTTP/1.1 200 ")
        await loop.sock_sendall(connection, b"\r\n")
        assert await read_all(connection) == b""


async def test_empty_lines_buy_no_time(hasty: httpx.AsyncClient) -> None:
    with connected(hasty) as connection:
        assert await trickled(connection, b"\r\n") == b""


async def test_a_head_that_trickles_is_given_up(hasty: httpx.AsyncClient) -> None:
    with connected(hasty) as connection:
        await asyncio.get_running_loop().sock_sendall(connection, LIVEZ + b"X: ")
        assert b'"head_too_late"' in await trickled(connection, b"y")


async def test_a_body_that_trickles_is_given_up_however_long_its_deadline(
    hasty: httpx.AsyncClient,
) -> None:
    head = POST + b"X-Deadline-Ms: 600000\r\nContent-Length: 1000000\r\n\r\n"
    with connected(hasty) as connection:
        await asyncio.get_running_loop().sock_sendall(connection, head)
        answer = await trickled(connection, b" ")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"body_too_late"' in answer


@pytest.mark.parametrize("path", [b"/livez", b"/v1/typo"])
async def test_a_body_that_goes_on_after_its_answer_is_given_up(
    hasty: httpx.AsyncClient, path: bytes
) -> None:
    head = b"GET %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" % path
    with connected(hasty) as connection:
        await asyncio.get_running_loop().sock_sendall(connection, head)
        assert (await trickled(connection, b"a")).count(b"HTTP/1.1 ") == 1


async def test_a_body_that_goes_on_after_a_401_is_given_up(settings: Settings) -> None:
    keyed = settings.model_copy(update={"auth": "redis", "head_timeout_s": SHORT_S})
    async with running_service(keyed) as client:
        with connected(client) as connection:
            await asyncio.get_running_loop().sock_sendall(
                connection, POST + b"Content-Length: 1000000\r\n\r\n"
            )
            assert (await trickled(connection, b"a")).startswith(b"HTTP/1.1 401 ")


async def test_an_answer_that_nobody_reads_is_dropped(
    api: httpx.AsyncClient, hasty: httpx.AsyncClient
) -> None:
    memory = {"agent_id": "a", "product_id": "p", "regime": "r", "state_vector": VECTOR}
    large = {"note": "x" * 15_000}
    for _ in range(40):
        items = [memory | {"metadata": large}] * 25
        assert (await api.post("/v1/episodic/batch", json={"memories": items})).is_success
    body = orjson.dumps({"agent_id": "a", "state_vector": VECTOR, "top_k": 1000})
    request = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with connected(hasty, reads_little=True) as connection:
        await asyncio.get_running_loop().sock_sendall(connection, request)
        await asyncio.sleep(SHORT_S * 5)
        read = await read_all(connection)
    assert len(read) < 14_000_000, "the rest was not kept for a caller that does not read"


async def test_connections_beyond_the_limit_are_refused_counted_and_logged(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    before = _refused()
    async with running_service(settings.model_copy(update={"max_connections": 3})) as client:
        assert (await client.get("/livez")).is_success
        with connected(client), connected(client):
            await asyncio.sleep(0.05)
            answer = await answer_to(client, b"")
            assert (await client.get("/livez")).is_success, "who is in stays in"
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"too_many_connections"' in answer
        assert b"Retry-After: 1" in answer
        await asyncio.sleep(0.05)
        async with httpx.AsyncClient(base_url=client.base_url, verify=NO_TLS) as other:
            assert (await other.get("/livez")).is_success, "there is room again"
    assert _refused() == before + 1
    logged = [r for r in caplog.records if r.name == "app.server.uvicorn_server"]
    assert [r.levelno for r in logged] == [logging.WARNING]


def _refused() -> float:
    return REGISTRY.get_sample_value("http_connections_refused_total") or 0.0


async def test_an_answer_tells_how_long_its_connection_is_kept(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    assert settings.keep_alive_s >= 120
    assert (await api.get("/livez")).headers["keep-alive"] == f"timeout={settings.keep_alive_s}"
    closing = await api.get("/livez", headers={"Connection": "close"})
    assert closing.headers["connection"] == "close"


async def test_an_idle_connection_is_closed_after_that_time_and_not_before(
    settings: Settings,
) -> None:
    loop = asyncio.get_running_loop()
    kept_s = 5 * SHORT_S
    async with running_service(settings.model_copy(update={"keep_alive_s": kept_s})) as client:
        with connected(client) as connection:
            for pause_s in (0.0, kept_s / 3, kept_s / 3, kept_s / 3):
                await asyncio.sleep(pause_s)
                await loop.sock_sendall(connection, LIVEZ + b"\r\n")
                assert (await loop.sock_recv(connection, 4096)).startswith(b"HTTP/1.1 200 ")
            assert await read_all(connection) == b""


BAD_FRAMING = {
    "a negative chunk": b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "a chunk beyond 64 bits": b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n{}\r\n",
    "an unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n{}",
    "a compressed coding": b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a second Host": b"Host: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}",
    "two types": b"Content-Type: text/plain\r\nContent-Type: application/json\r\n"
    b"Content-Length: 2\r\n\r\n{}",
    "a length of 5,000 digits": b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n{}",
    "a length below zero": b"Content-Length: -2\r\n\r\n{}",
    "a length and chunks": b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\n{}\r\n0\r\n\r\n",
}


def is_problem(answer: bytes, status: int, code: str) -> bool:
    """Whether this is the whole form of an error: an id in head and body, a sentence, the end."""
    head, _, body = answer.partition(b"\r\n\r\n")
    problem = orjson.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"connection: close" in head.lower()
    assert b"\r\nx-request-id: %b" % problem["request_id"].encode() in head
    assert len(problem["detail"]) > 30
    return bool(problem["code"] == code and problem["status"] == status)


@pytest.mark.parametrize("rest", BAD_FRAMING.values(), ids=BAD_FRAMING)
async def test_bad_framing_gets_400_with_a_reason(api: httpx.AsyncClient, rest: bytes) -> None:
    assert is_problem(await answer_to(api, POST + rest), 400, "http_invalid")


@pytest.mark.parametrize(
    "head",
    [
        b"no http",
        b"\x16\x03\x01 TLS",
        b"CONNECT a:80 HTTP/1.1\r\nHost: localhost",
        b"GET http://[::1/x HTTP/1.1\r\nHost: localhost",
        b"GET /v1/stats\x00 HTTP/1.1\r\nHost: localhost",
        b"GET /livez HTTP/3.0\r\nHost: localhost",
    ],
)
async def test_what_cannot_be_parsed_gets_400_with_an_id(
    api: httpx.AsyncClient, head: bytes
) -> None:
    assert is_problem(await answer_to(api, head + b"\r\n\r\n"), 400, "http_invalid")


async def test_a_refused_request_keeps_the_id_that_it_brought_and_no_other_one(
    api: httpx.AsyncClient,
) -> None:
    given = b"X-Request-Id: mine\r\n"
    assert b'"request_id":"mine"' in await answer_to(
        api, POST + given + b"Content-Length: x\r\n\r\n"
    )
    assert b'"request_id":"mine"' not in await answer_to(
        api, LIVEZ + given + b"\r\nno http\r\n\r\n"
    )


LONG = {
    "a header": LIVEZ + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
    "an address": b"GET /livez?" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "many headers": LIVEZ + b"X-Header: a\r\n" * 6_000 + b"\r\n",
    "a megabyte": LIVEZ + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "trailers": POST
    + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    + b"X: "
    + b"a" * 1_000_000
    + b"\r\n\r\n",
    "chunk extensions": POST
    + b"Transfer-Encoding: chunked\r\n\r\n2;"
    + b"a" * 1_000_000
    + b"\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("request_", LONG.values(), ids=LONG)
async def test_what_is_too_long_gets_431_with_the_limit(
    api: httpx.AsyncClient, request_: bytes
) -> None:
    answer = await answer_to(api, request_)
    assert is_problem(answer, 431, "head_too_large")
    assert b" 65536 bytes" in answer


async def test_a_long_body_leaves_the_next_head_its_room(api: httpx.AsyncClient) -> None:
    body = b"%b\r\n" % (b"Content-Length: 100000\r\n\r\n" + b"x" * 99_998)
    closing = LIVEZ + b"X: " + b"a" * 60_000 + b"\r\nConnection: close\r\n\r\n"
    answer = await answer_to(api, POST + body + closing)
    assert answer.count(b"HTTP/1.1 422 ") == 1
    assert answer.count(b"HTTP/1.1 200 ") == 1


async def test_trailers_are_no_headers(api: httpx.AsyncClient) -> None:
    chunks = b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n{}\r\n0\r\n"
    answer = await answer_to(api, POST + chunks + b"X-Request-Id: late\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 422 ")
    assert b"late" not in answer


async def test_a_request_for_another_protocol_is_answered_in_http_1_1(
    api: httpx.AsyncClient,
) -> None:
    upgrade = LIVEZ + b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n"
    closing = LIVEZ + b"Connection: close\r\n\r\n"
    answer = await answer_to(api, upgrade % b"websocket" + upgrade % b"h2c" + closing)
    assert answer.count(b"HTTP/1.1 200 ") == 3


async def test_no_host_is_refused(api: httpx.AsyncClient) -> None:
    assert (await answer_to(api, b"GET /livez HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_a_broken_request_waits_for_the_answers_before_it(api: httpx.AsyncClient) -> None:
    answer = await answer_to(api, (LIVEZ + b"\r\n") * 3 + b"no http\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == 3
    assert answer.rpartition(b"HTTP/1.1 ")[2].startswith(b"400 ")


async def test_after_an_unexpected_error_a_pool_takes_another_connection(
    api: httpx.AsyncClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object, **__: object) -> object:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("app.memory.episodic.EpisodicOperations.search", breaks)
        for _ in range(3):
            failed = await api.post(
                "/v1/episodic/search", json={"agent_id": "a", "state_vector": VECTOR}
            )
            assert failed.status_code == 500
            assert failed.headers["connection"] == "close"
            assert "keep-alive" not in failed.headers
            assert (await api.get("/livez")).is_success
