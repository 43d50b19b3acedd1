"""Asks the Sentinels who is the master, and keeps a shard's roles as they say.

All Sentinels are asked at once, and the view with the highest configuration epoch counts: a
Sentinel that was cut off from the others still names the previous master. (redis-py's own class
takes the first answer, uses one password for all, and leaves out replicas that are down.)
https://redis.io/docs/latest/develop/reference/sentinel-clients/

They are asked at short intervals, at once when one of them announces another master, and often
while the master does not behave as one. Another service's lease on the old master may last a moment
longer, so writes to the new one are fenced for that time (app/nodes/shard.py).
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import quote

import redis.exceptions as foreign
from redis.asyncio import Redis

from app.errors import StartError, StorageUnavailable
from app.nodes.addresses import Addresses
from app.nodes.client import create_redis
from app.nodes.commands import ask_all
from app.nodes.jobs import Job, running
from app.nodes.node import RedisNode
from app.nodes.shard import LEASE_S, Shard, WriteFence
from app.settings import Settings

logger = logging.getLogger(__name__)

ASK_TIMEOUT_S = 0.5
RECONNECT_PAUSE_S = 0.5
CONNECTIONS = 3
SWITCHED = "+switch-master"

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class SentinelView:
    """One Sentinel's view; a higher epoch is newer. `replicas` includes dead ones.

    `has_quorum`: a majority of the Sentinels names this master.
    """

    epoch: int
    master: Address
    replicas: tuple[Address, ...]
    has_quorum: bool = False


class Sentinels:
    """The Sentinels of one master. `aclose` closes the connections."""

    def __init__(self, urls: Sequence[str], master_name: str, settings: Settings) -> None:
        self._name = master_name
        self._clients = [
            create_redis(
                url,
                client_name="coinswarm-memory",
                settings=settings,
                max_connections=CONNECTIONS,
            )
            for url in urls
        ]

    async def aclose(self) -> None:
        """Close all connections."""
        async with AsyncExitStack() as stack:
            for client in self._clients:
                stack.push_async_callback(client.aclose)

    async def view(self, agreed: Callable[[SentinelView], None] | None = None) -> SentinelView:
        """Return the newest view. Raise StorageUnavailable if no Sentinel knows the master.

        `agreed` is called as soon as a majority names the same master, because the others may be
        silent.
        """
        known: list[SentinelView] = []
        questions = [asyncio.create_task(self._ask(client)) for client in self._clients]
        try:
            for answer in asyncio.as_completed(questions):
                view = await answer
                if view is not None:
                    known.append(view)
                    if agreed is not None and self._has_majority(view, known):
                        agreed(view)
        finally:
            for question in questions:  # none may outlive this call
                question.cancel()
        if not known:
            raise StorageUnavailable(
                f"No Sentinel of {len(self._clients)} names a master {self._name}: see that they "
                "run, and MEMORY_SENTINEL_MASTER.",
                retry_after_s=1,
            )
        newest = max(known, key=lambda view: view.epoch)
        # One of them may have just forgotten the replicas (SENTINEL RESET).
        alike = (v.replicas for v in known if (v.epoch, v.master) == (newest.epoch, newest.master))
        return replace(
            newest,
            replicas=tuple(sorted({address for replicas in alike for address in replicas})),
            has_quorum=self._has_majority(newest, known),
        )

    def _has_majority(self, view: SentinelView, known: Sequence[SentinelView]) -> bool:
        return 2 * sum(one.master == view.master for one in known) > len(self._clients)

    async def each_view(self) -> list[tuple[str, SentinelView | None]]:
        """Return every Sentinel's address and view. None: it does not answer or knows no master."""
        views = await asyncio.gather(*map(self._ask, self._clients))
        shown = (client.connection_pool.connection_kwargs for client in self._clients)
        addresses = (f"{one.get('host')}:{one.get('port', 26379)}" for one in shown)
        return list(zip(addresses, views, strict=True))

    @asynccontextmanager
    async def hearing_of_changes(self, changed: asyncio.Event) -> AsyncIterator[None]:
        """Set the event whenever a Sentinel announces another master, while the context is open."""
        async with AsyncExitStack() as stack:
            for client in self._clients:
                await stack.enter_async_context(
                    running(
                        partial(self._listen_for_ever, client, changed), "listening to a Sentinel"
                    )
                )
            yield

    async def _ask(self, sentinel: Redis) -> SentinelView | None:
        with suppress(foreign.RedisError, OSError, TimeoutError, StorageUnavailable):
            async with asyncio.timeout(ASK_TIMEOUT_S):
                return await self._view_of(sentinel)
        return None

    async def _view_of(self, sentinel: Redis) -> SentinelView | None:
        # The address changes as soon as the promotion is certain; the rest once it is complete.
        address, master, replicas = await ask_all(
            sentinel,
            [
                ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name),
                ("SENTINEL", "MASTER", self._name),
                ("SENTINEL", "REPLICAS", self._name),
            ],
        )
        if not address:
            return None
        named = _address(address[0], address[1])
        known = [_pairs(replica) for replica in replicas]
        others = {_address(one[b"ip"], one[b"port"]) for one in known}
        before = _pairs(master)
        others.add(_address(before[b"ip"], before[b"port"]))
        others.discard(named)
        return SentinelView(int(before[b"config-epoch"]), named, tuple(sorted(others)))

    async def _listen_for_ever(self, sentinel: Redis, changed: asyncio.Event, job: Job) -> None:
        while True:
            with suppress(foreign.RedisError, OSError):
                async with sentinel.pubsub() as subscription:
                    await subscription.subscribe(SWITCHED)
                    while True:
                        message = await subscription.get_message(timeout=60)
                        job.succeeded()
                        if message is not None and message["type"] == "message":
                            changed.set()
            await asyncio.sleep(RECONNECT_PAUSE_S)


def url_of(address: Address, sentinel_url: str, settings: Settings) -> str:
    """Return a node's URL, with the Sentinels' scheme and the nodes' own user and password."""
    scheme = "rediss" if sentinel_url.startswith("rediss://") else "redis"
    host, port = address
    shown = f"[{host}]" if ":" in host else host
    password = settings.redis_password
    if password is None:
        return f"{scheme}://{shown}:{port}"
    user = quote(settings.redis_username or "", safe="")
    secret = quote(password.get_secret_value(), safe="")
    return f"{scheme}://{user}:{secret}@{shown}:{port}"


async def first_view(sentinels: Sentinels, wait_s: float) -> SentinelView:
    """Return the first view at startup. Raise StartError if none comes within this time."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + wait_s
    while True:
        try:
            return await sentinels.view()
        except StorageUnavailable as error:
            if loop.time() > give_up_at:
                raise StartError(error.detail) from error
            await asyncio.sleep(RECONNECT_PAUSE_S)


async def each_view(
    addresses: Addresses, settings: Settings
) -> list[tuple[str, SentinelView | None]]:
    """Return the view of each of these Sentinels; empty if there are none."""
    sentinels = Sentinels(addresses.sentinels, addresses.master_name, settings)
    try:
        return await sentinels.each_view()
    finally:
        await sentinels.aclose()


async def master_url(addresses: Addresses, settings: Settings) -> str:
    """Return the master's current URL. Raise StartError if no Sentinel names one."""
    if not addresses.sentinels:
        return addresses.nodes[0]
    sentinels = Sentinels(addresses.sentinels, addresses.master_name, settings)
    try:
        view = await first_view(sentinels, wait_s=0)
    finally:
        await sentinels.aclose()
    return url_of(view.master, addresses.sentinels[0], settings)


def _address(host: bytes, port: bytes) -> Address:
    return host.decode(), int(port)


def _pairs(flat: Any) -> Mapping[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


INTERVAL_S = 0.25
INTERVAL_IN_DOUBT_S = 0.1
START_WAIT_S = 30.0


class SentinelRoles:
    """Follows the roles of a shard's nodes. `make` creates the node at an address, given its
    current role."""

    def __init__(
        self,
        shard: Shard,
        sentinels: Sentinels,
        make: Callable[[Address, bool], RedisNode],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shard = shard
        self._sentinels = sentinels
        self._make = make
        self._nodes: dict[Address, RedisNode] = {}
        self._epoch = -1
        self._clock = clock
        self._hold = WriteFence(clock)

    async def begin(self) -> None:
        """Fill the shard. Raise StartError if no Sentinel names a master."""
        self._shard.extend_lease(0.0)
        asked_at_s = self._clock()
        await self._take_over(await first_view(self._sentinels, START_WAIT_S), asked_at_s)

    @asynccontextmanager
    async def following(self, look: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """Follow changes while the context is open. Calls `look` after each one."""
        switched = asyncio.Event()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._sentinels.hearing_of_changes(switched))
            await stack.enter_async_context(
                running(partial(self._wake_on, switched), "waking on a failover")
            )
            reports = await stack.enter_async_context(AsyncExitStack())
            await stack.enter_async_context(
                running(partial(self._follow, look, reports), "following the Sentinels")
            )
            yield

    async def aclose(self) -> None:
        """Close all nodes and the Sentinels' connections."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._sentinels.aclose)
            for node in self._nodes.values():
                stack.push_async_callback(node.aclose)

    async def _wake_on(self, switched: asyncio.Event, _: Job) -> None:
        while True:
            await switched.wait()
            switched.clear()
            self._shard.suspect_master()

    async def _follow(
        self, look: Callable[[], Awaitable[None]], reports: AsyncExitStack, job: Job
    ) -> None:
        while True:
            status = self._shard.master.status
            if status.is_master and status.is_up:
                await self._shard.wait_for_suspicion(INTERVAL_S)
            else:
                await asyncio.sleep(INTERVAL_IN_DOUBT_S)
            old = self._shard.master
            asked_at_s = self._clock()
            with contextlib.suppress(StorageUnavailable):
                agreed = partial(self._stand_by, asked_at_s)
                await self._take_over(await self._sentinels.view(agreed), asked_at_s)
            if self._shard.master is not old:
                await look()
                # Concurrently, because the new master may be replaced itself meanwhile.
                await reports.enter_async_context(
                    running(partial(_tell, self._shard, old), "counting what a failover cost")
                )
            job.succeeded()

    def _stand_by(self, asked_at_s: float, view: SentinelView) -> None:
        """Extend the lease once a majority names this master: silent Sentinels are not awaited."""
        if view.epoch >= self._epoch and self._nodes.get(view.master) is self._shard.master:
            self._shard.extend_lease(asked_at_s + LEASE_S)

    async def _take_over(self, view: SentinelView, asked_at_s: float) -> None:
        if view.epoch < self._epoch:
            return  # from a Sentinel that was cut off; the others do not answer
        self._epoch = view.epoch
        addresses = (view.master, *view.replicas)
        gone = [address for address in self._nodes if address not in addresses]
        for address in addresses:
            if address not in self._nodes:
                self._nodes[address] = self._make(address, address == view.master)
        master = self._nodes[view.master]
        before = [self._shard.master] if self._shard.has_master else []
        is_new = before not in ([], [master])
        if view.has_quorum:
            self._shard.extend_lease(asked_at_s + LEASE_S)
        elif is_new:
            self._shard.extend_lease(0.0)  # the quorum was for the old master
        self._hold.look(master, is_new=is_new, has_quorum=view.has_quorum)
        self._shard.set_roles(master, [self._nodes[address] for address in view.replicas])
        for old in before:
            if old is not master:
                old.give_up_writes()
        for address in gone:
            with contextlib.suppress(foreign.RedisError, OSError):
                await self._nodes.pop(address).aclose()


async def _tell(shard: Shard, old: RedisNode, _: Job) -> None:
    await shard.report_failover(old)
