"""Which replicas must have a write before it is confirmed: each that may be promoted."""

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnection

from app.nodes.history import COUNTS_FOR_S, Promotability, is_refused
from tests.kit.fakes import ManualClock

OURS, OTHER = "a" * 40, "b" * 40
NO_HISTORY = "0" * 40
FOLLOWS = {
    "role": "slave",
    "master_link_status": "up",
    "master_replid": OURS,
    "master_replid2": NO_HISTORY,
}
LOST_ITS_MASTER = FOLLOWS | {"master_link_status": "down"}
PROMOTED = {"role": "master", "master_replid": OTHER, "master_replid2": OURS}
OLD_MASTER = {"role": "master", "master_replid": OTHER, "master_replid2": NO_HISTORY}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def follower(clock: ManualClock) -> Promotability:
    candidacy = Promotability(clock)
    candidacy.saw(FOLLOWS, OURS)
    return candidacy


def test_one_that_was_promoted_counts_for_ever(follower: Promotability, clock: ManualClock) -> None:
    clock.advance(2 * COUNTS_FOR_S)
    follower.saw(PROMOTED, OURS)
    clock.advance(2 * COUNTS_FOR_S)
    follower.saw(PROMOTED, OURS)
    assert follower.is_of(OURS)


@pytest.mark.parametrize(
    "look", [LOST_ITS_MASTER, FOLLOWS | {"master_replid": OTHER}, OLD_MASTER, TimeoutError()]
)
def test_one_that_follows_no_more_counts_for_some_seconds(
    follower: Promotability, clock: ManualClock, look: dict[str, str] | Exception
) -> None:
    for _ in range(2):
        assert follower.is_of(OURS)
        if isinstance(look, Exception):
            follower.missed(look, OURS)
        else:
            follower.saw(look, OURS)
        clock.advance(COUNTS_FOR_S + 0.1)
    assert not follower.is_of(OURS)


def test_one_that_nobody_looked_at_still_counts(
    follower: Promotability, clock: ManualClock
) -> None:
    clock.advance(100 * COUNTS_FOR_S)
    assert follower.is_of(OURS)


def test_one_that_was_not_looked_at_since_the_master_has_its_history_counts() -> None:
    candidacy = Promotability()
    assert candidacy.is_of(OURS)
    candidacy.saw(FOLLOWS | {"master_replid": OTHER}, OTHER)
    assert candidacy.is_of(OURS)
    candidacy.saw(LOST_ITS_MASTER, OURS)
    assert not candidacy.is_of(OURS)


@pytest.mark.parametrize("look", [LOST_ITS_MASTER, OLD_MASTER])
def test_one_that_never_followed_does_not_count(look: dict[str, str]) -> None:
    candidacy = Promotability()
    candidacy.saw(look, OURS)
    assert not candidacy.is_of(OURS)


async def test_one_whose_process_is_gone_does_not_count(follower: Promotability) -> None:
    async with Redis(port=1, retry=Retry(NoBackoff(), 0)) as nobody:
        with pytest.raises(LostConnection) as caught:
            await nobody.info("replication")
    assert is_refused(caught.value)
    follower.missed(caught.value, OURS)
    assert not follower.is_of(OURS)
    assert not is_refused(LostConnection("closed by the other side"))
