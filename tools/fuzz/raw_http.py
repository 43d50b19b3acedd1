"""Requests that no client library would send, from a seed; and what the service owes each of them.

An error of the caller is answered with 4xx or the connection is closed; never 5xx, never silence
while the caller waits for an answer it is due.
"""

import random
import re
import socket
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit

import orjson

READ_TIMEOUT_S = 20.0
HOST = b"Host: localhost"
PATHS = (
    *("/v1/episodic", "/v1/episodic/batch", "/v1/episodic/search", "/v1/episodic/search/batch"),
    *("/v1/episodic/query", "/v1/episodic/delete", "/v1/episodic/a/b/outcome", "/v1/semantic"),
    *("/v1/semantic/batch", "/v1/semantic/search", "/v1/semantic/query", "/v1/retention"),
)
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class Attacker:
    """Makes malformed requests about one agent; the same ones for the same seed."""

    def __init__(self, seed: int, dimension: int) -> None:
        self._random = random.Random(seed)
        self._dimension = dimension
        self._kinds: tuple[Callable[[], bytes], ...] = (
            *(self._truncated, self._flipped, self._nested, self._huge_number, self._not_text),
            *(self._doubled_key, self._chunked, self._wrong_length, self._bad_head, self._noise),
            *(self._other_type, self._pipelined, self._bad_path, self._odd_header),
        )

    def request(self) -> bytes:
        """Return the next request."""
        return self._random.choice(self._kinds)()

    def _body(self) -> bytes:
        pick = self._random.choice
        memory = {
            "agent_id": "attacker",
            "product_id": pick(["BTC-USD", "é", "x" * 128]),
            "regime": "r",
            "state_vector": [self._random.gauss(0, 1) for _ in range(self._dimension)],
            "metadata": {"depth": [1, {"a": None}]},
        }
        return orjson.dumps(pick([memory, {"memories": [memory]}, {"searches": [memory]}]))

    def _post(self, body: bytes, *headers: bytes, path: str | None = None) -> bytes:
        length = b"Content-Length: %d" % len(body)
        return self._head(path or self._random.choice(PATHS), length, *headers) + body

    def _head(self, path: str, *headers: bytes) -> bytes:
        lines = (
            b"POST %b HTTP/1.1" % path.encode(),
            b"Host: localhost",
            b"Connection: close",
            *headers,
        )
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _truncated(self) -> bytes:
        body = self._body()
        return self._post(body[: self._random.randrange(len(body))])

    def _flipped(self) -> bytes:
        body = bytearray(self._body())
        for _ in range(self._random.randint(1, 8)):
            body[self._random.randrange(len(body))] = self._random.randrange(256)
        return self._post(bytes(body))

    def _nested(self) -> bytes:
        depth = self._random.choice([100, 1_000, 10_000, 200_000])
        opened, closed = self._random.choice([(b"[", b"]"), (b'{"a":', b"}")])
        inner = opened * depth + b"1" + closed * depth * self._random.randint(0, 1)
        return self._post(b'{"agent_id":"attacker","metadata":' + inner + b"}")

    def _huge_number(self) -> bytes:
        number = self._random.choice(
            [
                *(b"9" * 100_000, b"1e999", b"-1e999", b"1" + b"0" * 400, b"0." + b"0" * 5_000),
                *(b"1e-9999", b"NaN", b"-Infinity", b"0x10", b"1_0", b"+1", b"01", b"1e", b"--1"),
            ]
        )
        field = self._random.choice([b"reward", b"timestamp", b"top_k", b"limit", b"hours"])
        return self._post(b'{"agent_id":"attacker","%b":%b}' % (field, number))

    def _not_text(self) -> bytes:
        text = self._random.choice(
            [b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"\x00", b"\\x41"]
        )
        body = b'{"agent_id":"attacker%b"}' % text
        coded = self._random.choice([body, body.decode("latin-1").encode("utf-16"), b"\xef" + body])
        return self._post(coded)

    def _doubled_key(self) -> bytes:
        return self._post(b'{"agent_id":"attacker","agent_id":"bystander",' + self._body()[1:])

    def _chunked(self) -> bytes:
        size = self._random.choice(
            [b"5", b"-1", b"ffffffffffffffff", b"zz", b"", b"5;x=" + b"y" * 50]
        )
        end = self._random.choice([b"\r\n0\r\n\r\n", b"\r\n", b""])
        head = self._head("/v1/episodic", b"Transfer-Encoding: chunked")
        return head + size + b"\r\nhello" + end

    def _wrong_length(self) -> bytes:
        body = self._body()
        length = self._random.choice([b"-1", b"1e3", b"0x10", b"9" * 30, b"", b"%d, %d" % (1, 2)])
        short = b"%d" % (len(body) - 3)
        return (
            self._head("/v1/episodic", b"Content-Length: " + self._random.choice([length, short]))
            + body
        )

    def _bad_head(self) -> bytes:
        return self._random.choice(
            [
                *(
                    b"GET\r\n\r\n",
                    b"\r\n\r\n",
                    b"GET / HTTP/9.9\r\n\r\n",
                    b"GET / HTTP/0.9\r\n\r\n",
                ),
                *(
                    b"PUT /v1/episodic HTTP/1.1\r\n\r\n",
                    b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n",
                ),
                b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
                b"GET /livez HTTP/1.1\r\nHost : x\r\n\r\n",
                b"GET http://elsewhere/livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
            ]
        )

    def _noise(self) -> bytes:
        return self._random.randbytes(self._random.randint(1, 2_000))

    def _other_type(self) -> bytes:
        kind = self._random.choice(
            [b"text/xml", b"multipart/form-data; boundary=x", b"application/json; charset=utf-7"]
        )
        return self._post(self._body(), b"Content-Type: " + kind, b"Content-Encoding: gzip")

    def _pipelined(self) -> bytes:
        first = self._truncated().replace(b"Connection: close\r\n", b"")
        return first + b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    def _bad_path(self) -> bytes:
        path = self._random.choice(
            [
                *("/v1/episodic/%", "/v1/episodic/%zz/b", "/v1/episodic/%ff%fe/b", "/v1/../etc"),
                *(
                    "/v1/semantic/%00",
                    "//v1/episodic",
                    "/v1/episodic/a/b/c/d",
                    "/v1/semantic/%2e%2e",
                ),
                "/v1/semantic/" + "x" * 5_000,
            ]
        )
        method = self._random.choice([b"GET", b"DELETE", b"PATCH"])
        return b"%b %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % (
            method,
            path.encode(),
        )

    def _odd_header(self) -> bytes:
        header = self._random.choice(
            [
                *(b"X-Deadline-Ms: -5", b"X-Deadline-Ms: 1e9", b"X-Request-Id: \xff\x80"),
                *(
                    b"Idempotency-Key: " + b"k" * 300,
                    b"Idempotency-Key: \xe9",
                    b"Authorization: \xff",
                ),
                *(b"Expect: 100-continue", b"Upgrade: websocket", b"X-Durability: forever"),
            ]
        )
        return self._post(self._body(), header)


def send(url: str, request: bytes) -> int:
    """Send one request and say that no more comes; the status of the last answer, 0: closed.

    Raises AssertionError when an answer is due and none comes.
    """
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), READ_TIMEOUT_S) as connection:
        received = b""
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65_536):
                received += part
        except TimeoutError as error:
            raise AssertionError(f"no end of the answer to {request[:300]!r}") from error
        except OSError:
            pass  # closed by the service, perhaps in the middle of the request
    statuses = [int(status) for status in _STATUS.findall(received)]
    assert all(status < 500 for status in statuses), (request[:300], received[:500])
    return statuses[-1] if statuses else 0


def attack(url: str, attacker: Attacker, count: int) -> Counter[int]:
    """Send this many requests one after the other. Return how often each status came back."""
    return Counter(send(url, attacker.request()) for _ in range(count))
