"""Who may answer for a slot, when another node may have taken a part of it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.errors import StorageMoving
from app.storage.keys import episodic_partition
from tests.cluster import slot_of
from tests.storage.fake_cluster import Cluster

KEY = episodic_partition("agent_3")
OTHER_KEY = episodic_partition("agent_2")
"""Both on the shard of `a`."""
TAKES = f"[{slot_of('agent_3')}-<-a]"
GIVES = f"[{slot_of('agent_3')}->-b]"


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster()
    async with made.watch.opened():
        yield made


def is_withheld(cluster: Cluster, key: str = KEY) -> bool:
    """Whether nobody is sent to the key's master."""
    try:
        cluster.shards.shard_of(key)
    except StorageMoving:
        return True
    return False


async def missing(cluster: Cluster, *, of_replica: bool = False) -> set[str]:
    """Of which keys an answer is thrown away."""
    node = cluster.shard.replicas[0] if of_replica else cluster.shard.master
    assert node.missing is not None
    return set(await node.missing([KEY, OTHER_KEY]))


async def promote(cluster: Cluster) -> None:
    """`a2` is the master now, and everybody knows."""
    cluster.nodes.promoted = {"a2", "b", "c", "b2", "c2", "idle"}
    cluster.nodes.silent |= {"a"}
    cluster.nodes.failed |= {"a"}
    await cluster.watch.look()


async def test_master_that_gives_a_slot_is_asked_and_not_believed(cluster: Cluster) -> None:
    cluster.nodes.marks = {"a": GIVES, "b": TAKES}
    await cluster.watch.look()
    assert not is_withheld(cluster)
    assert await missing(cluster) == {KEY}


@pytest.mark.parametrize("taker", ["b", "idle"])
async def test_replica_answers_only_for_what_nobody_takes_now(cluster: Cluster, taker: str) -> None:
    cluster.nodes.silent = {"a"}
    assert await missing(cluster, of_replica=True) == set()
    cluster.nodes.marks = {taker: TAKES}  # no look since
    assert await missing(cluster, of_replica=True) == {KEY}
    cluster.nodes.marks = {}
    assert await missing(cluster, of_replica=True) == set()


@pytest.mark.parametrize("who", ["b", "idle"])
async def test_replica_answers_for_nothing_while_a_master_is_not_heard(
    cluster: Cluster, who: str
) -> None:
    cluster.clock.advance(1)
    cluster.nodes.silent = {"a", who}
    assert await missing(cluster, of_replica=True) == {KEY, OTHER_KEY}
    cluster.nodes.failed = {who}  # then it is not expected to say anything
    assert await missing(cluster, of_replica=True) == set()


async def test_new_master_is_asked_when_all_others_were_heard_since(cluster: Cluster) -> None:
    cluster.clock.advance(1)
    cluster.nodes.silent = {"b"}
    await promote(cluster)
    await cluster.watch.look()
    assert is_withheld(cluster)
    assert await missing(cluster) == {KEY, OTHER_KEY}
    cluster.nodes.silent = {"a"}
    await cluster.watch.look()
    assert not is_withheld(cluster)
    cluster.clock.advance(60)
    cluster.nodes.silent |= {"b"}  # from here on it knows what it gives
    await cluster.watch.look()
    assert not is_withheld(cluster)
    assert await missing(cluster) == set()


@pytest.mark.parametrize("taker", ["b", "idle"])
async def test_new_master_is_not_asked_for_what_another_has_begun_to_take(
    cluster: Cluster, taker: str
) -> None:
    cluster.nodes.marks = {taker: TAKES, "a": GIVES}
    await cluster.watch.look()
    await promote(cluster)
    await cluster.watch.look()
    assert (is_withheld(cluster), is_withheld(cluster, OTHER_KEY)) == (True, False)
    cluster.nodes.silent |= {taker}  # what it said last stays true
    await cluster.watch.look()
    assert is_withheld(cluster)
    cluster.nodes.silent -= {taker}
    cluster.nodes.marks = {}
    await cluster.watch.look()
    assert not is_withheld(cluster)
    assert await missing(cluster) == set()


async def test_service_that_starts_later_knows_it_too() -> None:
    cluster = Cluster()
    cluster.nodes.promoted = {"a2", "b", "c", "b2", "c2", "idle"}
    cluster.nodes.marks = {"b": TAKES}
    cluster.nodes.silent = cluster.nodes.failed = {"a"}
    async with cluster.watch.opened():
        assert (is_withheld(cluster), is_withheld(cluster, OTHER_KEY)) == (True, False)


async def test_who_has_to_be_heard_first_is_named() -> None:
    cluster = Cluster()
    cluster.nodes.silent = {"c", "c2", "idle"}
    async with cluster.watch.opened():
        with pytest.raises(StorageMoving, match=r"have of it: h:3, h:7: try again"):
            cluster.shards.shard_of(KEY)
        assert "h:3, h:7" in str(cluster.shards.problem_of(cluster.shard))
        cluster.nodes.silent = set()
        await cluster.watch.look()
        assert cluster.shards.problem_of(cluster.shard) is None


async def test_failed_masters_without_slots_keep_nobody_from_the_only_one_that_has() -> None:
    cluster = Cluster()
    cluster.nodes.slots = {"a": "0-16383"}
    cluster.nodes.silent = {"b", "c", "b2", "c2", "idle"}
    async with cluster.watch.opened():
        assert is_withheld(cluster)
        cluster.nodes.failed = cluster.nodes.silent
        await cluster.watch.look()
        assert not is_withheld(cluster)
        assert await missing(cluster) == await missing(cluster, of_replica=True) == set()


async def test_one_round_serves_all_who_wait_for_it(cluster: Cluster) -> None:
    asked = len(cluster.nodes.asked)
    answers = await asyncio.gather(*(missing(cluster, of_replica=True) for _ in range(50)))
    assert answers == [set()] * 50
    assert len(cluster.nodes.asked) - asked <= 2 * 3
