"""One request and its answer. uvicorn's, but head and body leave in one write.

uvicorn writes the head at once and the body after it, which costs each answer one more system call
and wakes its caller twice. Here the head waits for its body where it announces the body's length.
Such a body follows without a pause. Streams announce none, so their heads are not held back.
"""

import sys
from functools import lru_cache
from typing import Any

from starlette.requests import Request
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    STATUS_LINE,
    RequestResponseCycle,
)

from app.api.error_handlers import unexpected_error

LENGTH = b"content-length"
MAX_JOINED_BYTES = 64 * 1024
"""Copying a larger body takes longer than a system call."""
MAX_WHOLE_BYTES = 32 * 1024
"""uvicorn stops reading while a request leaves more than 64 KiB unread."""
_OF_UVICORN = {b"connection", b"transfer-encoding"}
"""Headers that decide what becomes of the connection."""

NAMES_KEPT = 64
"""Sets of header names that are checked once. Which ones there are is up to the service alone."""


class AnswerCycle(RequestResponseCycle):
    """Writes an answer of announced length at once. Leaves every other one to uvicorn."""

    body: Any
    """Bytes after `took_whole`, otherwise uvicorn's bytearray."""

    _head: Any = None
    """The message with the head that waits for its body."""

    def took_whole(self, body: bytes) -> bool:
        """Take a body that may be whole, as nearly all are, without a copy.

        Return False, nothing taken, if uvicorn has to add it up.
        """
        if not self.body and len(body) <= MAX_WHOLE_BYTES and not self.response_complete:
            self.body = body
            self.message_event.set()
            return True
        if isinstance(self.body, bytes):
            self.body = bytearray(self.body)
        return False

    async def send(self, message: Any) -> None:
        """Send the head or a part of the body."""
        head, self._head = self._head, None
        if message["type"] == "http.response.start":
            if not self.response_started and LENGTH in dict(message["headers"]):
                self._head = message
                return
        elif head is not None:
            if self._send_whole(head, message):
                return
            await super().send(head)
        await super().send(message)

    def _send_whole(self, head: Any, message: Any) -> bool:
        """Send head and body. Return False, nothing sent, if uvicorn has to look at them."""
        body = message.get("body", b"")
        if (
            message.get("more_body", False)
            or len(body) > MAX_JOINED_BYTES
            or self.disconnected
            or self.flow.write_paused
            or not self.keep_alive
            or self.access_log
            or self.scope["method"] == "HEAD"
        ):
            return False
        headers = [*self.default_headers, *head["headers"]]
        known = dict(headers)
        if (
            known[LENGTH] != b"%d" % len(body)
            or not _are_plain_names(*known)
            or not b"".join([value for _, value in headers]).decode("latin-1").isprintable()
        ):
            return False
        lines = b"\r\n".join(map(b": ".join, headers))
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.message_event.set()
        self.transport.write(b"%b%b\r\n\r\n%b" % (STATUS_LINE[head["status"]], lines, body))
        self.on_response()
        return True

    async def send_500_response(self) -> None:
        """Answer an exception that nothing else has answered."""
        error = sys.exception()
        if isinstance(error, Exception):
            scope: Any = self.scope
            receive: Any = self.receive
            response = await unexpected_error(Request(scope), error)
            await response(scope, receive, self.send)
        else:
            await super().send_500_response()


@lru_cache(NAMES_KEPT)
def _are_plain_names(*names: bytes) -> bool:
    """Return whether these headers may be sent as they are, without a look at the connection."""
    joined = b"".join(names)
    return _OF_UVICORN.isdisjoint(names) and joined.islower() and not HEADER_RE.search(joined)
