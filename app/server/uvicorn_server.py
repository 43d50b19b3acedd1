"""uvicorn, adapted to say when it is ready, to lose no request when it stops, and to bound
connections.

uvicorn's httptools protocol waits forever for the end of a head, for the rest of a body, and for a
caller to read its answer. Here one timer for all connections ends those that take too long. The
same timer ends idle ones: uvicorn starts and stops a timer for each answer.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from enum import Enum, auto
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.api import middleware
from app.api.http_errors import (
    BodyTooLate,
    HeadTooLarge,
    HeadTooLate,
    TooManyConnections,
)
from app.errors import AddressInUse, ConfigurationError, MemoryServiceError
from app.log_config import log_config
from app.metrics import CONNECTIONS_REFUSED
from app.server import eager_start, refusals
from app.server.acceptor import Acceptor
from app.server.answer_cycle import AnswerCycle
from app.server.refusals import MAX_HEAD_BYTES
from app.settings import Settings

DRAIN_S = 1.0
"""How long a stopping service still accepts requests, each answered with `Connection: close`.

By then it has read what callers sent before the signal, including connections still in the kernel's
queue; closing at once would reset those.
"""


class DrainingServer(uvicorn.Server):
    """Calls `on_ready` once it can take requests, and drains before it closes anything."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then report it."""
        if sockets is None or self.config.workers == 1:
            await super().startup(sockets)
        else:
            await super().startup([])
            self._take_turns(sockets)
        if self.started:
            self._on_ready()

    def _take_turns(self, sockets: list[socket.socket]) -> None:
        """Listen together with other workers."""
        http: object = self.config.http
        assert isinstance(http, BoundedHttp)

        def make_protocol() -> asyncio.Protocol:
            return http(
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )

        for each in sockets:
            acceptor = Acceptor(each, make_protocol=make_protocol, held=lambda: http.held)
            acceptor.listen(self.config.backlog)
            self.servers.append(acceptor)  # type: ignore[arg-type]  # it is only ever closed

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was sent, then close."""
        middleware.begin()
        await asyncio.sleep(DRAIN_S)
        await super().shutdown(sockets)


def uvicorn_config(app: ASGIApp | str, settings: Settings) -> uvicorn.Config:
    """Return uvicorn's configuration. A string `app` names a worker process's factory."""
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=log_config(settings.log_level),
        access_log=False,
        # uvicorn only ever calls it
        http=BoundedHttp(settings),  # type: ignore[arg-type]
        ws="none",
        proxy_headers=False,  # nothing uses the caller's address
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
    )


def bound_socket(settings: Settings) -> socket.socket:
    """Return a socket bound to the settings' address, not listening yet. Raise StartError."""
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        address = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4]
    except socket.gaierror as error:
        raise ConfigurationError(
            f"MEMORY_HOST {host} is not an address of this machine: use 127.0.0.1, or 0.0.0.0 for "
            "all."
        ) from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"Port {port} of {host} is in use: stop what listens there, or set MEMORY_PORT "
                "(0 takes a free one)."
            ) from error
        raise ConfigurationError(
            f"The service cannot listen on {host}, port {port} ({error.strerror}): set "
            "MEMORY_HOST and MEMORY_PORT to what this user may use."
        ) from error
    return listener


def announce(listener: socket.socket) -> None:
    """Print the address of the docs page on standard output."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"Coinswarm Memory is ready: http://{shown}:{port}/docs", flush=True)  # noqa: T201


logger = logging.getLogger(__name__)

FRAMING_A_BYTE = 8
"""Framing that is not counted for a byte of the body: a chunk of one byte has five more."""
LINGER_S = 2.0
"""How long a refused caller may continue to send. Closing at once would reset the connection, and
the caller might lose the reason."""
TARGETS_KEPT = 256
"""Addresses whose parts are remembered."""
MAX_SWEEP_INTERVAL_S = 1.0
LOG_INTERVAL_S = 10.0
"""Refused connections are logged once per interval, with their number."""


class BoundedHttp:
    """Creates the protocol of each connection of a process, and watches the connections.

    `limits` are the seconds that each part of a request may take, and how many connections may be
    open. `head_timeout_s` also limits the wait for a new connection's first request, and how long a
    body may continue after its answer.
    """

    def __init__(self, limits: Settings) -> None:
        self.limits = limits
        limits_s = (limits.head_timeout_s, limits.body_timeout_s, limits.write_timeout_s)
        shortest_s = min(*limits_s, limits.keep_alive_s)
        self._sweep_interval_s = min(MAX_SWEEP_INTERVAL_S, shortest_s / 4)
        self._open: set[BoundedHttpProtocol] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._refused = 0
        self._logs_refused_from_s = 0.0

    def __call__(self, **of_uvicorn: Any) -> "BoundedHttpProtocol":
        """Return the protocol of a new connection. uvicorn calls this."""
        return BoundedHttpProtocol(self, **of_uvicorn)

    @property
    def held(self) -> int:
        """Return how many connections are open."""
        return len(self._open)

    @property
    def is_full(self) -> bool:
        """Return whether the limit of open connections is reached."""
        return len(self._open) >= self.limits.max_connections

    def add(self, connection: "BoundedHttpProtocol", loop: asyncio.AbstractEventLoop) -> None:
        """Watch a connection until `discard`."""
        self._open.add(connection)
        if self._timer is None:
            self._timer = loop.call_later(self._sweep_interval_s, self._sweep, loop)

    def discard(self, connection: "BoundedHttpProtocol") -> None:
        """Stop watching a connection."""
        self._open.discard(connection)

    def count_refused(self, now_s: float) -> None:
        """Count a refused connection, and log it unless one was logged just now."""
        CONNECTIONS_REFUSED.inc()
        self._refused += 1
        if now_s >= self._logs_refused_from_s:
            logger.warning(
                "connections are refused: MEMORY_MAX_CONNECTIONS is reached",
                extra={"refused": self._refused, "limit": self.limits.max_connections},
            )
            self._refused = 0
            self._logs_refused_from_s = now_s + LOG_INTERVAL_S

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now_s = loop.time()
        for connection in list(self._open):
            connection.end_if_late(now_s)
        if self._open:
            self._timer = loop.call_later(self._sweep_interval_s, self._sweep, loop)


class _Awaited(Enum):
    """What a connection expects its caller to send next."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


_NOTHING, _HEAD, _BODY = _Awaited  # looked up for each request: a member by its name takes longer


class BoundedHttpProtocol(HttpToolsProtocol):
    """Answers a request that is late, too large or not HTTP with the reason, and closes."""

    cycle: AnswerCycle

    def __init__(self, owner: BoundedHttp, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._owner = owner
        self._awaited = _HEAD
        self._since_s = 0.0
        self._idle_since_s = 0.0
        self._has_begun = False
        self._received_bytes = 0
        self._head_bytes = 0
        self._framing_bytes = 0
        self._refused_since_s: float | None = None
        self._unread_since_s: float | None = None
        self._closing_since_s: float | None = None
        self._last_words: bytes | None = None
        self._unstarted: AnswerCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first request, within the time limit."""
        super().connection_made(transport)
        self._since_s = self.loop.time()
        is_full = self._owner.is_full
        self._owner.add(self, self.loop)
        if is_full:
            self._owner.count_refused(self._since_s)
            self._refuse(
                TooManyConnections("Too many connections are open: try again.", retry_after_s=1)
            )
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._owner.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the received bytes, and start the request that they began."""
        if self._refused_since_s is not None:
            return
        self._received_bytes = len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            self._refuse(refusals.reason(error))
        self._check_progress()
        cycle, self._unstarted = self._unstarted, None
        if cycle is None:
            return
        if cycle.more_body or cycle.disconnected:
            self._start_asgi_task(cycle, self.app)
        else:
            task = eager_start.start(cycle.run_asgi(self.app), self.loop)
            if task is not None:
                task.add_done_callback(self.tasks.discard)
                self.tasks.add(task)

    def _parse(self, data: bytes) -> None:
        """Parse the bytes. A request for another protocol is answered in this one."""
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as asked:
                data = data[asked.args[0] :]
            else:
                return

    def _check_progress(self) -> None:
        """Refuse a head or a body's framing that is too long. Wait for a head after empty lines."""
        if self._awaited is _BODY:
            self._framing_bytes = max(0, self._framing_bytes + self._received_bytes)
            if self._framing_bytes > MAX_HEAD_BYTES:
                self._refuse(
                    HeadTooLarge(
                        f"The body's chunk extensions and trailers may have {MAX_HEAD_BYTES} "
                        "bytes: send none."
                    )
                )
        elif self._awaited is _HEAD:
            self._head_bytes += self._received_bytes
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(refusals.head_too_large())
        elif self.cycle is None or self.cycle.response_complete:
            self._has_begun = False  # empty lines do not begin a request
            self._wait_for(_HEAD)

    def on_message_begin(self) -> None:
        """Wait for the rest of a head."""
        super().on_message_begin()
        self._has_begun = True
        # What was received with the end of an earlier request may be that request's.
        is_first = self.cycle is None or self.cycle.response_complete
        self._head_bytes = 0 if is_first else -self._received_bytes
        self._wait_for(_HEAD)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header without the blanks after it, which the parser leaves (RFC 9110, 5.5)."""
        name = name.lower()
        if name == b"expect" and value.lower().rstrip(b" \t") == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Begin to answer the request, or queue it, and wait for its body.

        As uvicorn's, but with this service's cycle, and each address is parsed once. Raises
        HeadTooLarge and httptools' error.
        """
        parser, scope = self.parser, self.scope
        if self._head_bytes + self._received_bytes > MAX_HEAD_BYTES:
            self._measure_head()
        version = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["path"], scope["raw_path"], scope["query_string"] = _parsed(self.url)
        self.headers = []  # trailers are no headers (RFC 9110, 6.5.1)
        self._framing_bytes = -self._received_bytes
        self._wait_for(_BODY)
        earlier = self.cycle
        self.cycle = AnswerCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if earlier is None or earlier.response_complete:
            self._unstarted = self.cycle
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _measure_head(self) -> None:
        """Raise HeadTooLarge if this head, of all that was received, is too large."""
        lines = [len(name) + len(value) + len(": \r\n") for name, value in self.headers]
        if len(self.url) + sum(lines) > MAX_HEAD_BYTES:
            raise refusals.head_too_large()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._framing_bytes -= (1 + FRAMING_A_BYTE) * len(body)
        if not self.cycle.took_whole(body):
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for nothing: the request is whole."""
        self._awaited = _NOTHING
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Continue with the next request, or send the error that ends the connection."""
        if self.transport.is_closing() or self._refused_since_s is not None:
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._last_words is not None:
            self._end_with(self._last_words)
        else:
            self._idle_since_s = self.loop.time()

    def pause_writing(self) -> None:
        """Remember since when the caller has not read."""
        self._unread_since_s = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Forget the pause: the caller has read."""
        self._unread_since_s = None
        super().resume_writing()

    def end_if_late(self, now_s: float) -> None:
        """End the connection if its caller has taken too long."""
        limits = self._owner.limits
        if self.transport.is_closing():
            self._closing_since_s = self._closing_since_s or now_s
            if now_s - self._closing_since_s > limits.write_timeout_s:
                self.transport.abort()
        elif self._refused_since_s is not None:
            if now_s - self._refused_since_s > LINGER_S:
                self.transport.close()
        elif (
            self._unread_since_s is not None
            and now_s - self._unread_since_s > limits.write_timeout_s
        ):
            logger.warning("a caller does not read its answer: closing the connection")
            self.transport.abort()
        elif self._awaited is _HEAD:
            if now_s - self._since_s > limits.head_timeout_s:
                self._end_late_head()
        elif self._awaited is _BODY:
            self._end_late_body(now_s)
        elif self.cycle.response_complete and now_s - self._idle_since_s > limits.keep_alive_s:
            self.transport.close()

    def _end_late_head(self) -> None:
        if not self._has_begun:
            self.transport.close()
        else:
            limit_s = self._owner.limits.head_timeout_s
            self._refuse(HeadTooLate(f"The head was incomplete after {limit_s:g} s: try again."))

    def _end_late_body(self, now_s: float) -> None:
        limits = self._owner.limits
        if self.flow.read_paused:  # the service does not read: the caller is not late
            self._since_s = now_s
        elif self.cycle.response_complete:
            if now_s - self._since_s > limits.head_timeout_s:
                self.transport.close()
        elif now_s - self._since_s > limits.body_timeout_s:
            self._refuse(
                BodyTooLate(
                    f"The body was incomplete after {limits.body_timeout_s:g} s: send smaller "
                    "batches."
                )
            )

    def _wait_for(self, awaited: _Awaited) -> None:
        self._awaited = awaited
        self._since_s = self.loop.time()

    def _refuse(self, error: MemoryServiceError) -> None:
        """Send the error after the answers that are due before it, then close."""
        if self.transport.is_closing():
            return
        if self._awaited is _BODY and self.cycle.response_started:
            self.transport.close()
            return
        answer = refusals.answer(error, dict(self.scope["headers"]) if self._has_begun else {})
        has_earlier = self.cycle is not None and not self.cycle.response_complete
        if self._awaited is _BODY:
            has_earlier = self._abandon(self.cycle)
        self._awaited = _NOTHING
        if has_earlier:
            self._last_words = answer
            self.flow.pause_reading()
        else:
            self._end_with(answer)

    def _abandon(self, cycle: RequestResponseCycle) -> bool:
        """Discard a request whose body is broken. Return whether an earlier one is in progress."""
        cycle.disconnected = True
        cycle.message_event.set()
        is_queued = bool(self.pipeline) and self.pipeline[0][0] is cycle
        if is_queued:
            self.pipeline.popleft()
        return is_queued

    def _end_with(self, answer: bytes) -> None:
        self._refused_since_s = self.loop.time()
        self.flow.resume_reading()
        self.transport.write(answer)
        self.transport.write_eof()


@lru_cache(TARGETS_KEPT)
def _parsed(target: bytes) -> tuple[str, bytes, bytes]:
    """Return a request target's decoded path, its path and its query. Raise httptools' error."""
    parsed = httptools.parse_url(target)
    path = parsed.path.decode("ascii")
    return unquote(path) if "%" in path else path, parsed.path, parsed.query or b""
