"""Gives every request an id, its caller, a size limit and a deadline, before its route is found.

Also decodes names in paths, where an encoded slash (%2F) belongs to the name, and knows whether
this process is shutting down, in which case no connection is kept alive.
"""

import logging
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import unquote

from fastapi import Path
from pydantic import BeforeValidator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import metrics
from app.api.body import HEADERS
from app.api.doorway import Doorway
from app.api.error_handlers import error_response
from app.api.gate import Gate, Headers
from app.api.time_limit import SCOPE_KEY, TimeLimit, TimeLimits
from app.auth.caller import caller
from app.context import set_deadline
from app.contract.fields import AgentId, MemoryId, MetricName
from app.errors import BodyTooLarge, DeadlineExceeded, InvalidInput, Overloaded, RateLimited
from app.log_config import request_id

logger = logging.getLogger(__name__)

REQUEST_ID_HEADER = b"x-request-id"
DEADLINE_HEADER = b"x-deadline-ms"
MAX_DEADLINE_MS = 600_000
CLOSE = (b"connection", b"close")
KEEP_ALIVE = b"keep-alive"
MAX_DIGITS = 18
"""Of a number in a header. Python refuses to parse numbers of thousands of digits."""
SERVER_ERROR = 500
_random = random.Random()  # noqa: S311 - request ids are not secret
_SAFE_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.:/=+-]{1,128}")


@dataclass(slots=True)
class _Sent:
    """What has been sent of an answer. `status` 0: nothing yet. `headers` are added to it."""

    headers: Headers
    status: int = 0


class RequestMiddleware:
    """Prepares and serves each request. Plain ASGI: Starlette's wrapper costs more than that."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        doorway: Doorway,
        gate: Gate,
        max_body_bytes: int,
        default_deadline_ms: int,
        keep_alive_s: int,
    ) -> None:
        self._app = app
        self._doorway = doorway
        self._keep_alive = (KEEP_ALIVE, b"timeout=%d" % keep_alive_s)
        self._gate = gate
        self._default_deadline_ms = default_deadline_ms
        self._max_body_bytes = max_body_bytes
        self._limits = TimeLimits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, _brief_start_error(send))
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[HEADERS] = headers = dict(scope["headers"])
        own_id = request_id_of(headers)
        request_id.set(own_id.decode())
        raw_path: bytes = scope.get("raw_path") or b""
        if b"%" in raw_path and any(slash in raw_path for slash in _ENCODED_SLASHES):
            scope["path"] = routed_path(raw_path)
        started = time.perf_counter()

        sent = _Sent([(REQUEST_ID_HEADER, own_id), self._keep_alive])

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent.status = message["status"]
                message["headers"] = own = [*message["headers"], *sent.headers]
                if _is_draining:
                    own.append(CLOSE)
                if CLOSE in own:
                    own.remove(self._keep_alive)
                if logger.isEnabledFor(logging.DEBUG):
                    logger.debug(
                        "request",
                        extra={
                            "method": scope["method"],
                            "path": scope["path"],
                            "status": message["status"],
                            "took_ms": round((time.perf_counter() - started) * 1000, 3),
                        },
                    )
            await send(message)

        try:
            await self._answer(scope, receive, send_with_id, headers, sent)
        finally:
            metrics.observe(scope, sent.status or SERVER_ERROR, time.perf_counter() - started)

    async def _answer(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        headers: Mapping[bytes, bytes],
        sent: "_Sent",
    ) -> None:
        """Serve an admitted request within its limits of size and time."""
        refusal = self._doorway.refusal(scope, headers) or self._gate.admit(
            scope["method"], scope["path"], headers
        )
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        own_limit = caller.get().limits.body_bytes
        limit = min(self._max_body_bytes, own_limit or self._max_body_bytes)
        length = headers.get(b"content-length", b"0")
        if len(length) > MAX_DIGITS or (length.isdigit() and int(length) > limit):
            await error_response(_too_large(limit))(scope, receive, send)
            return
        limited = _counting(receive, limit) if b"transfer-encoding" in headers else receive
        try:
            deadline_ms = self._deadline_ms(headers)
            with TimeLimit(self._limits, set_deadline(deadline_ms)) as deadline:
                scope[SCOPE_KEY] = deadline
                if self._gate.limits_caller():
                    await self._gate.limited(self._app, scope, limited, send, sent.headers)
                else:
                    await self._app(scope, limited, send)
        except (InvalidInput, RateLimited, Overloaded) as error:
            await error_response(error)(scope, receive, send)
        except TimeoutError:
            if sent.status or not deadline.is_over:
                raise
            late = DeadlineExceeded(f"No answer within {deadline_ms:g} ms: allow more time.")
            await error_response(late, scope)(scope, receive, send)

    def _deadline_ms(self, headers: Mapping[bytes, bytes]) -> float:
        given = headers.get(DEADLINE_HEADER)
        if given is None:
            return self._default_deadline_ms
        is_number = len(given) <= MAX_DIGITS and given.isdigit()
        if not is_number or not 1 <= int(given) <= MAX_DEADLINE_MS:
            raise InvalidInput(
                f"X-Deadline-Ms: must be a whole number from 1 to {MAX_DEADLINE_MS}.",
                field="X-Deadline-Ms",
            )
        return int(given)


def request_id_of(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the request's id, or a new one if it has none or an unsafe one."""
    given = headers.get(REQUEST_ID_HEADER)
    if given and _SAFE_REQUEST_ID.fullmatch(given):
        return given
    return b"%032x" % _random.getrandbits(128)


def _counting(receive: Receive, limit: int) -> Receive:
    """Return a `receive` that stops a streamed body at the limit, not after it."""
    received_bytes = 0

    async def receive_limited() -> Message:
        nonlocal received_bytes
        message = await receive()
        received_bytes += len(message.get("body", b""))
        if received_bytes > limit:
            raise _too_large(limit)
        return message

    return receive_limited


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The body may have {limit} bytes: send smaller batches, or vectors as base64."
    )


def _brief_start_error(send: Send) -> Send:
    """Return a `send` that reports a failed start in one sentence instead of a traceback."""

    async def send_brief(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed":
            last_line = message.get("message", "").strip().rpartition("\n")[2]
            name, _, sentence = last_line.partition(": ")
            if name.startswith("app.errors."):
                message["message"] = sentence
        await send(message)

    return send_brief


_ENCODED_SLASHES = (b"%2F", b"%2f", b"%01")
# Stands for the slash until the route is found. No name may contain a control character.
_SLASH = "\x01"


def routed_path(raw_path: bytes) -> str:
    """Return the path to route by: decoded, with encoded slashes kept apart from real ones."""
    # A control character that the caller sent stays one, and is refused.
    kept = raw_path.replace(b"%01", b"%02").replace(b"%2F", b"%01").replace(b"%2f", b"%01")
    return unquote(kept.decode("latin-1"))


def _restore_slash(value: object) -> object:
    return value.replace(_SLASH, "/") if isinstance(value, str) else value


PathAgent = Annotated[AgentId, BeforeValidator(_restore_slash), Path(alias="agent_id")]
PathId = Annotated[MemoryId, BeforeValidator(_restore_slash), Path(alias="id")]
PathMetric = Annotated[MetricName, BeforeValidator(_restore_slash), Path(alias="id")]


_is_draining = False


def begin() -> None:
    """Close the connection after each answer from now on."""
    global _is_draining  # noqa: PLW0603 - one process ends once
    _is_draining = True


def has_begun() -> bool:
    """Return whether the process is shutting down."""
    return _is_draining
