"""Has the keys of one process follow what is in the file or in Redis."""

import asyncio
import ipaddress
import logging
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from app.access import ANONYMOUS, Limits, Principal
from app.api_keys import KeyRing
from app.background import periodically
from app.errors import StorageError
from app.rate_limit import RateLimiter
from app.settings import Settings
from app.storage.key_store import FileKeyStore, KeyStore, RedisKeyStore
from app.storage.shard import Shards

logger = logging.getLogger(__name__)

START_WAIT_S = 30.0
START_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Entrance:
    """What the gate asks, to be connected with the storage."""

    ring: KeyRing
    rates: RateLimiter


def key_ring(settings: Settings) -> KeyRing:
    """The process's keys, none of them known yet."""
    required = settings.auth in ("file", "redis") or (
        settings.auth == "auto" and settings.api_keys_file is not None
    )
    return KeyRing(is_required=required, defaults=_limits(settings))


def anonymous(settings: Settings) -> Principal:
    """The caller of every request while no keys are asked for."""
    shared = _limits(settings)
    return replace(ANONYMOUS, limits=replace(shared, requests_per_s=None, concurrency=None))


def _limits(settings: Settings) -> Limits:
    """What a key may ask for that has no limits of its own."""
    return Limits(
        requests_per_s=settings.limit_key_requests_per_s,
        concurrency=settings.limit_key_concurrency,
        top_k=settings.limit_top_k,
        batch=settings.limit_batch,
        metadata_bytes=settings.limit_metadata_bytes,
        memories=settings.limit_agent_memories,
        bytes=settings.limit_agent_bytes,
    )


async def follow_keys(
    settings: Settings, ring: KeyRing, shards: Shards, stack: AsyncExitStack
) -> None:
    """Read the keys, and again whenever they change. Raises StartError."""
    if settings.auth != "off":
        store: KeyStore
        if settings.api_keys_file is not None:
            store = FileKeyStore(settings.api_keys_file)
        else:
            store = RedisKeyStore(shards)
        follower = _Follower(store, ring)
        await follower.look_first()
        await stack.enter_async_context(
            periodically(follower.look, settings.api_keys_poll_s, "reading API keys")
        )
    if not ring.is_required and not _is_loopback(settings.host):
        logger.warning(
            "anybody who reaches this address may read and change the memory: make a key with "
            "`python -m app keys create` (docs/reference/security.md)",
            extra={"host": settings.host},
        )


class _Follower:
    def __init__(self, store: KeyStore, ring: KeyRing) -> None:
        self._store = store
        self._ring = ring
        self._version: object = self

    async def look(self) -> None:
        """Take over the keys if they changed."""
        version = await self._store.version()
        if version == self._version:
            return
        records = await self._store.read()
        if records and not self._ring.is_required:
            logger.warning("there are API keys now: from now on every request needs one")
            self._ring.is_required = True
        self._ring.replace(records)
        self._version = version

    async def look_first(self) -> None:
        """As `look`; a master that falls at this moment, or a part that moves, is waited for."""
        give_up_at = time.monotonic() + START_WAIT_S
        while True:
            try:
                await self.look()
            except StorageError as error:
                if not error.retryable or time.monotonic() > give_up_at:
                    raise
                await asyncio.sleep(START_PAUSE_S)
            else:
                return


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
