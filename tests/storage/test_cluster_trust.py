"""Whose word makes a cluster's master a sure one, and when a new one gets its first write."""

from collections.abc import AsyncIterator

import pytest

from app.errors import StartError
from app.storage.trust import HELD_AT_MOST_S, HELD_FOR_S, SURE_FOR_S
from tests.storage.fake_cluster import OTHERS, Cluster


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster()
    async with made.watch.opened():
        yield made


async def test_master_is_sure_while_most_of_the_other_shards_nodes_stand_by_it(
    cluster: Cluster,
) -> None:
    assert cluster.is_sure()
    cluster.clock.advance(SURE_FOR_S)
    assert not cluster.is_sure()
    cluster.nodes.silent = {"b"}
    await cluster.watch.look()
    assert cluster.is_sure()
    cluster.nodes.silent = {"b", "c2"}
    assert cluster.is_sure()
    cluster.clock.advance(SURE_FOR_S)
    await cluster.watch.look()
    assert not cluster.is_sure()


async def test_masters_alone_are_enough_when_all_replicas_are_away(cluster: Cluster) -> None:
    cluster.nodes.silent = {"a2", "b2", "c2"}
    cluster.clock.advance(SURE_FOR_S)
    await cluster.watch.look()
    assert cluster.is_sure()
    cluster.nodes.silent |= {"c"}
    cluster.clock.advance(SURE_FOR_S)
    await cluster.watch.look()
    assert not cluster.is_sure()


async def test_new_master_waits_for_most_nodes_and_for_the_masters(cluster: Cluster) -> None:
    """Whoever has the word of either may still be sure of the old one."""
    cluster.nodes.promoted = {"a2", "b", "b2", "c2"}
    cluster.nodes.silent = {"a"}
    await cluster.watch.look()
    cluster.clock.advance(HELD_FOR_S)
    assert not await cluster.is_writable()
    cluster.nodes.promoted |= {"c"}
    await cluster.watch.look()
    cluster.clock.advance(SURE_FOR_S)
    assert not await cluster.is_writable()
    cluster.clock.advance(HELD_FOR_S - SURE_FOR_S)
    assert await cluster.is_writable()


async def test_neither_the_master_nor_its_replica_vouches_for_it(cluster: Cluster) -> None:
    cluster.nodes.silent = set(OTHERS)
    cluster.clock.advance(SURE_FOR_S)
    await cluster.watch.look()
    assert not cluster.is_sure()


async def test_start_before_the_cluster_was_made_is_refused() -> None:
    made = Cluster()
    made.nodes.slots = {}
    with pytest.raises(StartError, match="make the cluster first"):
        async with made.watch.opened():
            pass


async def test_first_start_holds_nothing(cluster: Cluster) -> None:
    assert await cluster.is_writable()


async def test_new_master_waits_until_nobody_can_be_sure_of_the_old_one(cluster: Cluster) -> None:
    cluster.nodes.promoted = {"a2"}
    cluster.nodes.silent = {"a"}
    await cluster.watch.look()
    assert cluster.shard.master.name == "h:4"
    # Whoever asks the other nodes is still told of the old one.
    assert not cluster.is_sure()
    cluster.clock.advance(HELD_FOR_S)
    assert not await cluster.is_writable()
    cluster.nodes.promoted |= {"b", "c", "c2"}
    await cluster.watch.look()
    assert cluster.is_sure()
    cluster.clock.advance(SURE_FOR_S)
    assert not await cluster.is_writable()
    cluster.clock.advance(HELD_FOR_S - SURE_FOR_S)
    assert await cluster.is_writable()


async def test_nodes_that_never_agree_do_not_end_all_writing(cluster: Cluster) -> None:
    cluster.nodes.promoted = {"a2"}
    cluster.nodes.silent = {"a"}
    await cluster.watch.look()
    cluster.clock.advance(HELD_AT_MOST_S)
    assert await cluster.is_writable()


async def test_master_that_was_replaced_is_no_shard_of_its_own(cluster: Cluster) -> None:
    """Whoever asks all shards would wait for it."""
    before = list(cluster.shards)
    cluster.nodes.promoted = {"a2", *OTHERS}
    cluster.nodes.silent = {"a"}
    await cluster.watch.look()
    assert list(cluster.shards) == before
    assert [node.name for node in cluster.shard.replicas] == ["h:1"]
