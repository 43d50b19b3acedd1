"""When a new master gets its first write: not while anybody may still trust the old one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
from redis.asyncio import Redis

from app.errors import StorageTimeout, StorageUnavailable
from app.model import Stored
from app.nodes.node import RedisNode
from app.nodes.reads import ReadRouter
from app.nodes.sentinel import Address, SentinelRoles, Sentinels, SentinelView
from app.nodes.shard import FENCE_S, LEASE_S, MAX_FENCE_S, Shard, Shards
from app.nodes.writes import Waiting
from app.settings import Settings
from app.storage.memories import MemoryStore, StoreCommand
from tests.kit.fakes import ManualClock
from tests.kit.storage_parts import NoGuards

A, B = ("a", 1), ("b", 1)
OLD, NEW = SentinelView(1, A, (B,)), SentinelView(2, B, (A,))
KEY = "episodic:{a}:m"


class ThreeSentinels(Sentinels):
    """What each of them says; a test changes it."""

    def __init__(self) -> None:
        super().__init__(["redis://127.0.0.1:1"] * 3, "m", Settings())
        self.say(OLD, OLD, OLD)

    def say(self, *views: SentinelView) -> None:
        self._views = views

    async def view(self, agreed: Callable[[SentinelView], None] | None = None) -> SentinelView:
        self._answers = iter(self._views)
        return await super().view(agreed)

    async def _ask(self, sentinel: Redis) -> SentinelView | None:
        return next(self._answers)


class Service:
    """One that follows these Sentinels; both addresses lead to the same Redis."""

    def __init__(
        self,
        redis: Redis,
        sentinels: Sentinels,
        clock: ManualClock,
        *,
        probe_of_b: Redis | None = None,
    ) -> None:
        self.left_s: float | None = None
        self.shard = Shard(clock=clock)

        def make(address: Address, is_master: bool) -> RedisNode:
            probe = probe_of_b if address == B and probe_of_b is not None else redis
            node = partial(RedisNode, address[0], client=redis, waiting=redis, probe=probe)
            return node(is_master=is_master, has_fixed_role=False, clock=clock)

        self.roles = SentinelRoles(self.shard, sentinels, make, clock=clock)
        shards = Shards([self.shard])
        self.store = MemoryStore(
            shards,
            ReadRouter(shards, NoGuards()),
            guards=NoGuards(),
            invalidate=lambda _: None,
            waiting=Waiting(1, 0, 1000, lambda: self.left_s),
        )

    async def write(self) -> None:
        command = StoreCommand("m", KEY, "episodic_partition:{a}", b"d", {"record": b"{}"})
        (outcome,), _ = await self.store.store_many([command])
        assert isinstance(outcome, Stored)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """It follows the Sentinels, and has learned of the new master."""

        async def look() -> None:
            """Nobody asks for the nodes' health here."""

        async with self.roles.following(look):
            await until(lambda: self.shard.master.name == "b")
            yield


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def held(service: Service) -> AsyncIterator[asyncio.Task[None]]:
    """A write that has come as far as it gets by itself: it waits."""
    task = asyncio.create_task(service.write())
    await asyncio.wait([task], timeout=0.2)
    try:
        assert not task.done()
        yield task
    finally:
        task.cancel()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def sentinels() -> AsyncIterator[ThreeSentinels]:
    three = ThreeSentinels()
    yield three
    await three.aclose()


@pytest.fixture
async def service(redis: Redis, sentinels: ThreeSentinels, clock: ManualClock) -> Service:
    made = Service(redis, sentinels, clock)
    await made.roles.begin()
    return made


async def test_first_start_holds_nothing(service: Service) -> None:
    service.left_s = 0.0
    await service.write()


async def test_write_waits_while_another_service_trusts_the_old_master_and_goes_on(
    service: Service, redis: Redis, sentinels: ThreeSentinels, clock: ManualClock
) -> None:
    other = Service(redis, sentinels, clock)
    await other.roles.begin()
    sentinels.say(NEW, NEW, NEW)  # the other one asks no more: it is cut off
    async with service.following(), held(service) as write:
        while other.shard.has_lease:
            assert not write.done()
            clock.advance(0.1)
            await asyncio.sleep(0.05)
        clock.advance(FENCE_S)
        await asyncio.wait_for(write, 60)
    assert other.shard.master.name == "a"
    assert await redis.exists(KEY)


async def test_silent_sentinel_does_not_make_the_master_unsure(
    service: Service, sentinels: ThreeSentinels, clock: ManualClock
) -> None:
    told: list[SentinelView] = []
    sentinels.say(OLD, OLD, NEW)
    await sentinels.view(told.append)
    assert [view.master for view in told] == [A], "as soon as two of three agree"
    sure = []
    for view in (None, OLD, NEW):  # of another one it says nothing
        clock.advance(2 * LEASE_S)
        if view is not None:
            service.roles._stand_by(clock(), view)
        sure.append(service.shard.has_lease)
    assert sure == [False, True, False]


async def test_new_master_that_few_name_is_not_sure(
    service: Service, sentinels: ThreeSentinels
) -> None:
    assert service.shard.has_lease
    sentinels.say(NEW, OLD, OLD)
    async with service.following():
        assert not service.shard.has_lease


async def test_time_counts_from_when_most_sentinels_name_the_new_master(
    service: Service, sentinels: ThreeSentinels, clock: ManualClock
) -> None:
    sentinels.say(NEW, OLD, OLD)  # whoever does not reach the first is still sure of the old one
    async with service.following(), held(service) as write:
        clock.advance(2 * FENCE_S)
        await asyncio.wait([write], timeout=0.2)
        assert not write.done()
        sentinels.say(NEW, NEW, OLD)
        await until(lambda: service.shard.has_lease)
        assert not write.done()
        clock.advance(FENCE_S)
        await asyncio.wait_for(write, 60)


async def test_sentinels_that_never_agree_do_not_end_all_writing(
    service: Service, sentinels: ThreeSentinels, clock: ManualClock
) -> None:
    sentinels.say(NEW, OLD, OLD)
    async with service.following(), held(service) as write:
        clock.advance(MAX_FENCE_S)
        await asyncio.wait_for(write, 60)


async def test_request_with_less_time_is_refused_and_nothing_written(
    service: Service, redis: Redis, sentinels: ThreeSentinels
) -> None:
    sentinels.say(NEW, NEW, NEW)
    service.left_s = FENCE_S / 2
    async with service.following():
        with pytest.raises(StorageUnavailable) as refused:
            await service.write()
    assert refused.value.retryable
    assert not await redis.exists(KEY)


async def test_write_that_waits_ends_when_the_master_changes_again(
    service: Service, redis: Redis, sentinels: ThreeSentinels
) -> None:
    sentinels.say(NEW, NEW, NEW)
    async with service.following(), held(service) as write:
        sentinels.say(*[SentinelView(3, A, (B,))] * 3)
        with pytest.raises(StorageTimeout):
            await asyncio.wait_for(write, 60)
    assert not await redis.exists(KEY)


async def test_new_master_that_is_lost_at_once_is_replaced_while_what_it_has_is_asked_for(
    redis: Redis,
    sentinels: ThreeSentinels,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.nodes.shard.ASK_TIMEOUT_S", 1000.0)
    async with Redis.from_url("redis://127.0.0.1:1") as gone:
        service = Service(redis, sentinels, clock, probe_of_b=gone)
        await service.roles.begin()
        sentinels.say(NEW, NEW, NEW)
        async with service.following():
            sentinels.say(*[SentinelView(3, A, (B,))] * 3)
            await until(lambda: service.shard.master.name == "a")
            await until(lambda: service.shard.last_failover is not None)
            assert service.shard.last_failover is not None
            assert service.shard.last_failover.old_master == "b"
