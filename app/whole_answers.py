"""Head and body of an answer in one write.

uvicorn writes the head as soon as it knows it and the body after that: two system calls, of which
each costs as much as validating the question (docs/hotpath.md). ASGI lets a server wait with the
head until the body comes.
"""

import asyncio
from typing import Any


class GatheringTransport:
    """A transport that keeps a bare head back for the body, until the turn's end at the latest."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._head = b""
        self._end_of_turn: asyncio.Handle | None = None
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, together with the head that waits."""
        if self._head:
            data = self._take_head() + data
        elif _is_bare_head(data):
            self._head = data
            self._end_of_turn = self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        """Close once everything is written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        head = self._take_head()
        if head and not self._transport.is_closing():
            self._transport.write(head)

    def _take_head(self) -> bytes:
        head, self._head = self._head, b""
        if self._end_of_turn is not None:
            self._end_of_turn.cancel()
            self._end_of_turn = None
        return head


def _is_bare_head(data: bytes) -> bool:
    is_final = data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1")
    return is_final and data.endswith(b"\r\n\r\n")
