"""The only place that creates Redis clients."""

import contextlib
import socket
from ssl import TLSVersion
from typing import Any, TypeAlias

import hiredis
import redis.exceptions as foreign
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer, parse_url
from redis.driver_info import DriverInfo

from app.errors import ConfigurationError
from app.settings import Settings

Client: TypeAlias = Redis
"""The name that the layers above use for a connection to a node."""

HEALTH_CHECK_INTERVAL_S = 30
RESP_VERSION = 2
"""FT.SEARCH replies in RESP2 are flat lists, measured a sixth cheaper end to end than RESP3's maps.
RESP3 would add a warning on a timed-out search, which is an error here (ON_TIMEOUT FAIL)."""

RETRIES = 1
"""A pooled connection may have died unnoticed while Redis is long back: one retry on a new one.
Every command that the service sends may be repeated (stores carry their id)."""

_KEEPALIVE = {
    getattr(socket, name): seconds
    for name, seconds in {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}.items()
    if hasattr(socket, name)
}

_DRIVER = DriverInfo()
"""Created once. Otherwise each new connection reads redis-py's version from disk, a few
milliseconds."""

_serializer = HiredisRespSerializer()


class _PackedInC(AbstractConnection):
    """Packs commands with hiredis, as redis-py's synchronous client does. Its asyncio client does
    so in Python, which took a fifth of the time of storing a batch."""

    def pack_command(self, *args: Any) -> list[bytes]:
        name = args[0]
        if isinstance(name, str) and " " not in name:
            with contextlib.suppress(TypeError):  # the serializer knows more types
                return [hiredis.pack_command(args)]
        packed: list[bytes] = _serializer.pack(*args)
        return packed


class _LostAsAnError(AbstractConnection):
    """Turns the errors of a connection that was just closed into an OSError, as redis-py expects:
    uvloop's RuntimeError, and redis-py's own for a writer that is gone."""

    async def _send_packed_command(self, command: Any) -> None:
        if self._writer is None:
            raise ConnectionResetError("The connection was closed before the command was sent.")
        try:
            await super()._send_packed_command(command)
        except RuntimeError as error:
            raise ConnectionResetError(str(error)) from error


class _PoolLife:
    """Whether a pool is closed. The pool and its connections share it."""

    def __init__(self) -> None:
        self.is_over = False

    def end(self) -> None:
        """Note that the pool is closed."""
        self.is_over = True

    def require(self) -> None:
        """Raise redis-py's ConnectionError once the pool is closed."""
        if self.is_over:
            raise foreign.ConnectionError("The service closed its connections to this node.")


class _EndsWithPool(AbstractConnection):
    """Does not connect again once its pool is closed.

    redis-py's command in progress loses its connection then, connects again, and returns that
    connection to the closed pool, where nobody closes it.
    """

    def __init__(self, *, pool_life: _PoolLife, **kwargs: Any) -> None:
        self._pool_life = pool_life
        super().__init__(**kwargs)

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        """Introduce the client, without a PING before that.

        On a Unix socket redis-py would connect again for each PING that a hanging node does not
        answer, without an end.
        """
        del check_health
        await super().on_connect_check_health(check_health=False)

    async def _connect(self) -> None:
        self._pool_life.require()
        await super()._connect()  # type: ignore[safe-super, no-untyped-call]
        if self._pool_life.is_over:  # it ended while this was connecting
            await self.disconnect(nowait=True)
            self._pool_life.require()


class _TcpConnection(_EndsWithPool, _PackedInC, _LostAsAnError, Connection):
    pass


class _TlsConnection(_EndsWithPool, _PackedInC, _LostAsAnError, SSLConnection):
    pass


class _UnixConnection(_EndsWithPool, _PackedInC, _LostAsAnError, UnixDomainSocketConnection):
    pass


_OURS: dict[type[AbstractConnection], type[AbstractConnection]] = {
    Connection: _TcpConnection,
    SSLConnection: _TlsConnection,
    UnixDomainSocketConnection: _UnixConnection,
}


class _Pool(BlockingConnectionPool):
    """A pool that is closed for good, with all of its connections, idle or in use."""

    def __init__(self, **kwargs: Any) -> None:
        self._life = _PoolLife()
        super().__init__(**kwargs, pool_life=self._life)
        self.connection_class = _OURS[self.connection_class]

    async def aclose(self) -> None:
        """Close it, also if the caller is cancelled meanwhile or a node does not let go."""
        self._life.end()
        try:
            await super().aclose()
        finally:
            for connection in (*self._available_connections, *self._in_use_connections):
                await connection.disconnect(nowait=True)


def create_redis(
    url: str,
    *,
    client_name: str,
    settings: Settings,
    max_connections: int | None = None,
) -> Redis:
    """Return a client with a blocking pool: if all connections are busy, it waits, then raises.

    The caller closes it with `aclose()`, for good: commands raise redis-py's ConnectionError from
    then on, including those in progress. Replies are bytes.
    """
    is_tcp = not url.startswith("unix://")
    try:
        parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise ConfigurationError(
            "MEMORY_REDIS_URL or MEMORY_REPLICA_URLS is not a Redis address: write "
            "redis://user:password@host:6379."
        ) from error
    pool = _Pool.from_url(
        url,
        max_connections=max_connections or settings.redis_max_connections,
        timeout=settings.redis_pool_wait_s,
        socket_connect_timeout=settings.redis_connect_timeout_s,
        socket_timeout=settings.redis_read_timeout_s,
        health_check_interval=HEALTH_CHECK_INTERVAL_S,
        client_name=client_name,
        protocol=RESP_VERSION,
        decode_responses=False,
        retry=Retry(NoBackoff(), RETRIES),
        driver_info=_DRIVER,
        **({"socket_keepalive": True, "socket_keepalive_options": _KEEPALIVE} if is_tcp else {}),
        **(_tls(settings) if url.startswith("rediss://") else {}),
    )
    return Redis.from_pool(pool)


def _tls(settings: Settings) -> dict[str, object]:
    """Return the arguments of a TLS connection. The server's name is always checked."""
    files = {
        "ssl_ca_certs": settings.redis_tls_ca_file,
        "ssl_certfile": settings.redis_tls_cert_file,
        "ssl_keyfile": settings.redis_tls_key_file,
    }
    for path in files.values():
        if path is not None and not path.is_file():
            raise ConfigurationError(f"There is no file {path}: correct MEMORY_REDIS_TLS_....")
    given = {name: str(path) for name, path in files.items() if path is not None}
    return {
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_min_version": TLSVersion.TLSv1_2,
    } | given


async def execute(node: Redis, *words: str | bytes | int | float) -> Any:
    """Send one command. Return the reply as redis-py parses it. Raise redis-py's errors."""
    return await node.execute_command(*words)  # type: ignore[no-untyped-call]
