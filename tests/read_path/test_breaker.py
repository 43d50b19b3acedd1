"""The breaker's states are the table's, whatever happens."""

import asyncio

import pytest

from app.errors import InvalidInput, Overloaded, SearchTimeout, StorageTimeout, StorageUnavailable
from app.read_path.breaker import TRANSITIONS, Breaker, BreakerLimits, BreakerState, Event
from tests.kit.fakes import ManualClock

LIMITS = BreakerLimits(failures=3, slow_ms=100, slow_share=0.5, window=4, open_s=2.0)


def call(
    breaker: Breaker,
    clock: ManualClock,
    *,
    takes_s: float = 0.0,
    error: Exception | None = None,
) -> None:
    with breaker.watching():
        clock.advance(takes_s)
        if error is not None:
            raise error


def fail(breaker: Breaker, clock: ManualClock, times: int) -> None:
    for _ in range(times):
        with pytest.raises(StorageUnavailable):
            call(breaker, clock, error=StorageUnavailable("gone"))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def breaker(clock: ManualClock) -> Breaker:
    return Breaker("node", LIMITS, clock)


def test_opens_after_failures_in_a_row(breaker: Breaker, clock: ManualClock) -> None:
    fail(breaker, clock, 2)
    call(breaker, clock)
    fail(breaker, clock, 2)
    assert breaker.state.name == "CLOSED"
    fail(breaker, clock, 1)
    assert breaker.state.name == "OPEN"
    with pytest.raises(Overloaded) as caught:
        call(breaker, clock)
    assert caught.value.retry_after_s == 2


def test_opens_on_a_share_of_slow_calls(breaker: Breaker, clock: ManualClock) -> None:
    for takes_s in (0.2, 0.0, 0.0, 0.0):
        call(breaker, clock, takes_s=takes_s)
    assert breaker.state.name == "CLOSED"
    call(breaker, clock, takes_s=0.2)
    call(breaker, clock, takes_s=0.2)
    assert breaker.state.name == "OPEN"


def test_delay_of_this_process_is_not_the_nodes_slowness(clock: ManualClock) -> None:
    breaker = Breaker("node", LIMITS, clock, own_delay_s=lambda: 0.15)
    for _ in range(10):
        call(breaker, clock, takes_s=0.2)
    assert breaker.state.name == "CLOSED"
    for _ in range(2):
        call(breaker, clock, takes_s=0.3)
    assert breaker.state.name == "OPEN"


def test_bulk_work_may_take_long(breaker: Breaker, clock: ManualClock) -> None:
    for _ in range(10):
        with breaker.watching(counts_slow=False):
            clock.advance(5)
    assert breaker.state.name == "CLOSED"


def test_call_that_was_given_up_says_nothing(breaker: Breaker, clock: ManualClock) -> None:
    for _ in range(2):
        fail(breaker, clock, 1)
        with pytest.raises(asyncio.CancelledError):
            call(breaker, clock, error=asyncio.CancelledError())  # type: ignore[arg-type]
    assert breaker.state.name == "CLOSED"
    fail(breaker, clock, 1)
    assert breaker.state.name == "OPEN"
    clock.advance(2.0)
    with pytest.raises(asyncio.CancelledError):
        call(breaker, clock, error=asyncio.CancelledError())  # type: ignore[arg-type]
    assert (breaker.state.name, breaker.allows) == ("HALF_OPEN", True)


def test_question_that_takes_too_long_is_not_the_nodes_failure(
    breaker: Breaker, clock: ManualClock
) -> None:
    for _ in range(10):
        with pytest.raises(SearchTimeout):
            call(breaker, clock, error=SearchTimeout("narrow the filters"))
    assert breaker.state.name == "CLOSED"


def test_callers_mistakes_do_not_count(breaker: Breaker, clock: ManualClock) -> None:
    for _ in range(10):
        with pytest.raises(InvalidInput):
            call(breaker, clock, error=InvalidInput("x"))
    assert breaker.state.name == "CLOSED"


def test_one_probe_closes_it_again(breaker: Breaker, clock: ManualClock) -> None:
    fail(breaker, clock, 3)
    clock.advance(2.0)
    assert breaker.allows
    while_probing: list[object] = []
    with breaker.watching():
        while_probing += [breaker.state.name, breaker.allows]
        with pytest.raises(Overloaded):
            call(breaker, clock)
    assert while_probing == ["HALF_OPEN", False]
    assert (breaker.state.name, breaker.allows) == ("CLOSED", True)


@pytest.mark.parametrize("takes_s", [0.0, 0.2])
def test_probe_that_fails_or_is_slow_opens_it_again(
    breaker: Breaker, clock: ManualClock, takes_s: float
) -> None:
    fail(breaker, clock, 3)
    clock.advance(2.0)
    error = StorageTimeout("slow") if takes_s == 0 else None
    if error is None:
        call(breaker, clock, takes_s=takes_s)
    else:
        with pytest.raises(StorageTimeout):
            call(breaker, clock, error=error)
    assert breaker.state.name == "OPEN"
    assert not breaker.allows


def test_call_from_before_it_opened_does_not_close_it(breaker: Breaker, clock: ManualClock) -> None:
    with breaker.watching():
        fail(breaker, clock, 3)
    assert breaker.state.name == "OPEN"


def test_the_table_names_every_way_there_is() -> None:
    assert {state for state, _ in TRANSITIONS} == set(BreakerState)
    assert {event for _, event in TRANSITIONS} == set(Event)
    assert set(TRANSITIONS.values()) == set(BreakerState)
