"""uvicorn's HTTP protocol, with bounds on what may come before a request is whole enough to be one.

uvicorn's httptools protocol waits for ever for the end of a request's head and keeps all that it
has of it. The body has its limits elsewhere: its size and the request's deadline, in the
middleware.
"""

import asyncio
from http import HTTPStatus

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.errors import HeadInvalid, HeadTooLarge, HeadTooLate, InputError

HEAD_TIMEOUT_S = 10.0
"""Longest wait for the rest of a request's head, and for the first byte of a new connection."""

MAX_HEAD_BYTES = 64 * 1024


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes a connection whose request's head is late, too large or not HTTP, and says why."""

    head_timeout_s = HEAD_TIMEOUT_S
    _is_in_head = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first byte, but not for ever."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(self.head_timeout_s, self._first_byte_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; a head that came whole, as nearly every one does, costs no timer."""
        self._stop_waiting_for_first_byte()
        super().data_received(data)
        if not self._is_in_head or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(HeadTooLarge(f"The head may hold {MAX_HEAD_BYTES} bytes: send less."))
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout_s, self._head_is_late)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._is_in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._is_in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets problem details as well."""
        self._refuse(HeadInvalid(f"{msg} Send HTTP/1.1."))

    def _first_byte_is_late(self) -> None:
        self._head_timer = None
        self.transport.close()

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self._refuse(
                HeadTooLate(f"The head was not whole after {self.head_timeout_s:g} s: try again.")
            )

    def _stop_waiting_for_first_byte(self) -> None:
        if self._head_timer is not None and not self._is_in_head:
            self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, error: InputError) -> None:
        """Answer, unless another answer is under way on this connection, and close it."""
        self._stop_waiting()
        if self.cycle is None or self.cycle.response_complete:
            body = orjson.dumps(error.problem())
            status = HTTPStatus(error.status)
            self.transport.write(
                b"HTTP/1.1 %d %b\r\ncontent-type: application/problem+json\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n%b"
                % (status.value, status.phrase.encode(), len(body), body)
            )
        self.transport.close()
