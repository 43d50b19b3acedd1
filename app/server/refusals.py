"""Answers to requests that end their connection: not HTTP, too large, too late."""

import logging
from collections.abc import Mapping
from http import HTTPStatus

import httptools
import orjson

from app.api import middleware
from app.api.http_errors import HeadInvalid, HeadTooLarge, TooManyConnections
from app.errors import MemoryServiceError
from app.log_config import request_id

logger = logging.getLogger(__name__)

MAX_HEAD_BYTES = 64 * 1024
"""Of a request's line and headers, and of what frames a body without being part of it."""


def head_too_large() -> HeadTooLarge:
    """Return the error for a request's line and headers."""
    return HeadTooLarge(
        f"The request's line and headers may have {MAX_HEAD_BYTES} bytes: send less, and what is "
        "large in a body."
    )


def reason(error: httptools.HttpParserError) -> MemoryServiceError:
    """Return the error for a request that cannot be parsed."""
    cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else error
    if isinstance(cause, MemoryServiceError):
        return cause
    if isinstance(cause, httptools.HttpParserInvalidURLError):
        return HeadInvalid("The request's target must be a path such as /v1/stats: send one.")
    if not isinstance(cause, httptools.HttpParserError):
        logger.error("unexpected error", exc_info=cause)
    return HeadInvalid(f"{cause}: send HTTP/1.1.")


def answer(error: MemoryServiceError, headers: Mapping[bytes, bytes]) -> bytes:
    """Return the answer to a request with these headers, and log it."""
    own_id = middleware.request_id_of(headers).decode()
    if not isinstance(error, TooManyConnections):  # counted, and logged now and then
        token = request_id.set(own_id)
        logger.warning("request refused", extra={"code": error.code, "detail": error.detail})
        request_id.reset(token)
    body = orjson.dumps({**error.problem(), "request_id": own_id})
    status = HTTPStatus(error.status)
    fields = {
        "content-type": "application/problem+json",
        "content-length": str(len(body)),
        "connection": "close",
        "x-request-id": own_id,
        **error.headers(),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{lines}\r\n".encode() + body
