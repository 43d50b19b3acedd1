"""Answers that are JSON bytes already."""

from fastapi import Response
from starlette.types import Receive, Scope, Send

JSON = (b"content-type", b"application/json")


class JsonBytes(Response):
    """A response whose headers are known before: Starlette's finds them out each time."""

    media_type = "application/json"

    def __init__(self, body: bytes, status: int = 200) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [JSON, (b"content-length", b"%d" % len(body))]

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        """Send head and body."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        await send({"type": "http.response.body", "body": self.body})
