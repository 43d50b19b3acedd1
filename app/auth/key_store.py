"""Stores API keys in a file or in Redis, and keeps each process's keys up to date with them."""

import asyncio
import contextlib
import fcntl
import ipaddress
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from app import keys
from app.auth.caller import ANONYMOUS, Limits, Principal
from app.auth.keys import KeyRecord, KeyRing
from app.auth.limits import AgentAdmission, RateLimiter, RateWindow
from app.errors import ConfigurationError, StorageError
from app.nodes.client import Client
from app.nodes.commands import Words, ask_all, ask_one
from app.nodes.jobs import periodically
from app.nodes.redis_errors import translated
from app.nodes.shard import Shards
from app.nodes.writes import NO_WAITING, Waiting
from app.settings import Settings

OWNER_ONLY = 0o600


class KeyStore(Protocol):
    """Reads and writes the records of API keys."""

    async def version(self) -> object:
        """Return a value that changes whenever the keys may have changed. Cheap."""

    async def read(self) -> list[KeyRecord]:
        """Return all records, also revoked ones. Raise ConfigurationError for an invalid one."""

    async def write(self, record: KeyRecord) -> None:
        """Add a key, or replace its record."""

    async def write_lasting(self, record: KeyRecord) -> bool:
        """Write like `write`, but wait until replicas have it, so that a failover cannot undo it.

        Returns False if there are no replicas. Raise DurabilityNotReached if the record was written
        but not confirmed; repeat the call.
        """


class FileKeyStore:
    """One JSON record per line. A missing file holds no keys."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def version(self) -> object:
        """Return the file's identity, size and modification time."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error) from error
        return (found.st_ino, found.st_size, found.st_mtime_ns)

    async def read(self) -> list[KeyRecord]:
        """Return all records in the file."""
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unreadable(error) from error
        return _records(
            [line for line in lines if line.strip()], f"MEMORY_API_KEYS_FILE {self._path}"
        )

    async def write(self, record: KeyRecord) -> None:
        """Replace the whole file at once, so that no reader ever sees half of it."""
        try:
            with self._locked():
                others = [known for known in await self.read() if known.id != record.id]
                _replace(self._path, [*others, record])
        except OSError as error:
            raise ConfigurationError(
                f"MEMORY_API_KEYS_FILE {self._path} cannot be written ({error.strerror})."
            ) from error

    async def write_lasting(self, record: KeyRecord) -> bool:
        """Write the record. A written file is on disk, and no failover can undo it."""
        await self.write(record)
        return True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the file's lock, so that two commands at once lose no key."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = self._path.with_name(f".{self._path.name}.lock")
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, OWNER_ONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _unreadable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(
            f"MEMORY_API_KEYS_FILE {self._path} cannot be read ({error.strerror})."
        )


def _replace(path: Path, records: Sequence[KeyRecord]) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            for record in records:
                file.write(record.model_dump_json(exclude_defaults=True).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


class RedisKeyStore:
    """A hash on the current master, with a counter of its changes.

    `waiting` says how many replicas must acknowledge a lasting write, and how long they may take.
    """

    def __init__(self, shards: Shards, waiting: Waiting = NO_WAITING) -> None:
        self._shards = shards
        self._waiting = waiting

    @property
    def _master(self) -> Client:
        return self._shards.shard_of(keys.API_KEYS).master.probe

    async def version(self) -> object:
        """Return how often keys were written."""
        return await ask_one(self._master, "GET", keys.API_KEYS_VERSION)

    async def read(self) -> list[KeyRecord]:
        """Return all records in Redis."""
        found = await ask_one(self._master, "HVALS", keys.API_KEYS)
        return _records(found, "Redis")

    async def write(self, record: KeyRecord) -> None:
        """Write the record and count the change, in one transaction."""
        await ask_all(self._master, _transaction(record))

    async def write_lasting(self, record: KeyRecord) -> bool:
        """Write the record, and wait for the replicas that follow the master."""
        master = self._shards.shard_of(keys.API_KEYS).master.waiting
        with translated():
            followers = _in_step(await master.info("replication"))
        if not followers:
            await ask_all(master, _transaction(record))
            return False
        wait = self._waiting.in_one_piece(followers)
        # WAIT must use the connection of the write that it waits for.
        *_, reached = await ask_all(master, [*_transaction(record), *wait.commands])
        wait.check([reached])
        return True


def _in_step(info: Mapping[str, Any]) -> int:
    """Return how many replicas follow the master and are not in the middle of a full copy."""
    numbers = range(info["connected_slaves"])
    return sum(info[f"slave{number}"]["state"] == "online" for number in numbers)


def _transaction(record: KeyRecord) -> list[Words]:
    content = record.model_dump_json(exclude_defaults=True)
    return [
        ("MULTI",),
        ("HSET", keys.API_KEYS, record.id, content),
        ("INCR", keys.API_KEYS_VERSION),
        ("EXEC",),
    ]


def _records(lines: Sequence[bytes], place: str) -> list[KeyRecord]:
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(KeyRecord.model_validate_json(line))
        except ValidationError as error:
            raise ConfigurationError(
                f"{place}: record {number} is not an API key: create keys with `./memory keys`."
            ) from error
    return records


logger = logging.getLogger(__name__)

START_WAIT_S = 30.0
START_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class AuthState:
    """The parts of the gate that need the storage once it is connected."""

    ring: KeyRing
    rates: RateLimiter


def key_ring(settings: Settings) -> KeyRing:
    """Return the process's key ring, still empty."""
    required = settings.auth in ("file", "redis") or (
        settings.auth == "auto" and settings.api_keys_file is not None
    )
    return KeyRing(is_required=required, defaults=_limits(settings))


def anonymous(settings: Settings) -> Principal:
    """Return the caller of every request while the service asks for no keys."""
    shared = _limits(settings)
    return replace(ANONYMOUS, limits=replace(shared, requests_per_s=None, concurrency=None))


def _limits(settings: Settings) -> Limits:
    """Return the limits of a key without limits of its own."""
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
    """Read the keys now, and again whenever they change. Raise StartError."""
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
    if not ring.is_required and not is_loopback(settings.host):
        logger.warning(
            "anybody who reaches this address may read and change the memory: create a key with "
            "`./memory keys create` (docs/reference/security.md)",
            extra={"host": settings.host},
        )


class _Follower:
    def __init__(self, store: KeyStore, ring: KeyRing) -> None:
        self._store = store
        self._ring = ring
        self._version: object = self

    async def look(self) -> None:
        """Replace the process's keys if they have changed."""
        version = await self._store.version()
        if version == self._version:
            return
        records = await self._store.read()
        if records and not self._ring.is_required:
            logger.warning("an API key was created: every request needs one from now on")
            self._ring.require_keys()
        self._ring.replace(records)
        self._version = version

    async def look_first(self) -> None:
        """Replace the keys, and wait for a master that is being replaced right now."""
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


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def admission(
    settings: Settings, shards: Shards, stack: AsyncExitStack, auth: AuthState | None
) -> AgentAdmission:
    """Return what limits the requests for one agent. A command's own calls have no limit."""
    if auth is None:
        return AgentAdmission(RateLimiter(), None)
    auth.rates.lease_from(RateWindow(shards))
    await follow_keys(settings, auth.ring, shards, stack)
    return AgentAdmission(auth.rates, settings.limit_agent_requests_per_s)
