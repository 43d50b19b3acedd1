"""How a client reaches the service, as both kinds of client need it."""

import os
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from coinswarm_memory.errors import (
    CallTimedOut,
    CoinswarmError,
    InvalidConnection,
    ServiceUnreachable,
)
from coinswarm_memory.operations.request import Reply, Request

API_KEY_VARIABLE = "MEMORY_API_KEY"
_LONGEST_DEADLINE_MS = 600_000
_KEPT_ALIVE_S = 60.0


@dataclass(frozen=True, slots=True)
class Connection:
    """The service's address, the caller's key, and the limits of the connection pool."""

    url: str
    api_key: str | None
    max_connections: int
    verify: ssl.SSLContext | bool

    def __reduce__(self) -> tuple[object, ...]:
        """Leave the key out of files and pipes: a copy reads MEMORY_API_KEY where it is used."""
        return connection, (self.url, None, self.max_connections, self.verify)

    @property
    def limits(self) -> httpx.Limits:
        """The pool's limits."""
        return httpx.Limits(
            max_connections=self.max_connections,
            max_keepalive_connections=self.max_connections,
            keepalive_expiry=_KEPT_ALIVE_S,
        )

    @property
    def checks(self) -> ssl.SSLContext | bool:
        """How certificates are checked. The authorities are not loaded for plain HTTP."""
        return self.verify if self.url.startswith("https:") else False

    def prepared(self, request: Request, request_id: str, timeout_s: float) -> httpx.Request:
        """Return a request as httpx sends it, with the time that the service may take."""
        deadline_ms = min(max(int(timeout_s * 1000), 1), _LONGEST_DEADLINE_MS)
        headers = {
            "Accept": request.accept,
            "X-Request-Id": request_id,
            "X-Deadline-Ms": str(deadline_ms),
        }
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        if request.durability is not None:
            headers["X-Durability"] = request.durability
        timeout = {"connect": timeout_s, "read": timeout_s, "write": timeout_s, "pool": timeout_s}
        return httpx.Request(
            request.method,
            f"{self.url}{request.path}",
            headers=headers,
            content=request.body,
            extensions={"timeout": timeout},
        )


def connection(
    url: str, api_key: str | None, max_connections: int, verify: ssl.SSLContext | bool
) -> Connection:
    """Return how to reach a service. The key is taken from MEMORY_API_KEY when none is given.

    Raises InvalidConnection for an address that is not one of HTTP, or a key with other characters
    than those of a header.
    """
    try:
        given = httpx.URL(url)
        is_address = given.scheme in {"http", "https"} and given.host != ""
    except httpx.InvalidURL:
        is_address = False
    if not is_address:
        raise InvalidConnection(
            f"the address must begin with http:// or https:// and name a host, got {url!r}"
        )
    key = api_key or os.environ.get(API_KEY_VARIABLE) or None
    if key is not None and not (key.isascii() and key.isprintable()):
        raise InvalidConnection(
            f"the key holds characters that no key has: copy it again ({API_KEY_VARIABLE})"
        )
    return Connection(url.rstrip("/"), key, max_connections, verify)


def reply_of(response: httpx.Response) -> Reply:
    """Return a response that was read whole."""
    headers: Mapping[str, str] = response.headers
    return Reply(response.status_code, headers, response.content)


def error_of(error: httpx.TransportError, url: str) -> CoinswarmError:
    """Return the client's own error for one of httpx."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return ServiceUnreachable(f"No service at {url} ({error}): is it running?", was_sent=False)
    if isinstance(error, httpx.PoolTimeout):
        return CallTimedOut(
            "All connections were busy: raise max_connections, or send fewer requests at once."
        )
    if isinstance(error, httpx.TimeoutException):
        return CallTimedOut(f"No reply from {url} in time: allow more by timeout_s.")
    return ServiceUnreachable(
        f"The connection to {url} broke ({type(error).__name__}: {error}).", was_sent=True
    )


def new_request_id() -> str:
    """Return an id by which one call is found in the logs of both sides."""
    return secrets.token_hex(8)
