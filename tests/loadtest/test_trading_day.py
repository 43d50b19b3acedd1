import numpy as np
import orjson
import pytest

from bench.data import History, Moments
from bench.measurement import check_trading
from bench.samples import Answer, Request, Samples
from bench.trading_bodies import TradingDay
from bench.trading_day import Event, trading_plan


def test_the_plan_is_the_same_for_the_same_seed() -> None:
    plans = [trading_plan(agents=3, time_scale=1, seed=s, simulated_s=600) for s in (1, 1, 2)]
    assert plans[0] == plans[1]
    assert plans[0] != plans[2]


def test_each_agent_looks_for_patterns_every_five_seconds_and_stores_its_trades() -> None:
    plan = trading_plan(agents=4, time_scale=1, seed=1, simulated_s=3600)
    assert [e.due_s for e in plan] == sorted(e.due_s for e in plan)
    for agent in range(4):
        own = [e for e in plan if e.agent == agent]
        patterns = [e.due_s for e in own if e.kind == "pattern search"]
        assert len(patterns) == 720
        assert np.diff(patterns) == pytest.approx(5.0)
        trades = [e.item for e in own if e.kind == "trade search"]
        assert 80 < len(trades) < 170
        assert trades == [e.item for e in own if e.kind == "store"]


def test_a_time_scale_only_presses_the_plan_together() -> None:
    slow = trading_plan(agents=2, time_scale=1, seed=1, simulated_s=600)
    fast = trading_plan(agents=2, time_scale=60, seed=1, simulated_s=600)
    assert [(e.agent, e.kind, e.item) for e in slow] == [(e.agent, e.kind, e.item) for e in fast]
    assert [e.due_s for e in fast] == pytest.approx([e.due_s / 60 for e in slow])


def moments(count: int, seed: int) -> Moments:
    generator = np.random.default_rng(seed)
    return Moments(
        vectors=generator.standard_normal((count, 8), dtype=np.float32),
        products=np.array(["AAA", "BBB"] * (count // 2)),
        regimes=generator.choice(["up", "down"], count),
        actions=np.full(count, "buy"),
        rewards=np.zeros(count),
        timestamps=np.arange(count, dtype=np.float64),
    )


@pytest.fixture
def day() -> TradingDay:
    history = History(past=moments(200, 1), later=moments(100, 2))
    return TradingDay(history, agents=2, memories_each=50, form="base64", run_id="test")


def test_a_trade_is_searched_within_its_regime_and_stored_as_it_is(day: TradingDay) -> None:
    path, body = day.request(Event(0.0, 1, "trade search", 3))
    question = orjson.loads(body)
    assert path == "/v1/episodic/search"
    path, body = day.request(Event(0.0, 1, "store", 3))
    stored = orjson.loads(body)
    assert path == "/v1/episodic"
    assert question["agent_id"] == stored["agent_id"] == "trading-test-market-0001"
    assert question["regime"] == stored["regime"]
    assert question["state_vector"] == stored["state_vector"]
    assert stored["product_id"] == "BBB"


def answered(day: TradingDay, search: Event, stores: list[tuple[Event, float]]) -> Samples:
    """A search at 100 to 101 ms that found the true neighbours of what was stored before 100."""
    before = [e for e, done_ms in stores if done_ms <= 100 and e.agent == search.agent]
    vectors, rows = day.candidates(search, before)
    ids = {row: memory_id for memory_id, row in rows.items()}
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest = np.argsort(-unit @ day.question(search))[:10]
    asked = Request(f"phase 3: {search.kind}", search.agent, search.item, 100, 100, 101, True)
    stored = [
        Request("phase 3: store", e.agent, e.item, done - 1, done - 1, done, True)
        for e, done in stores
    ]
    found = Answer(0, tuple(ids[int(row)] for row in nearest), True, False, False)
    return Samples(requests=[asked, *stored], answers=[found])


@pytest.mark.parametrize("kind", ["pattern search", "trade search"])
def test_an_answer_is_checked_against_what_was_stored_when_it_was_asked(
    day: TradingDay, kind: str
) -> None:
    search = Event(0.1, 0, kind, 5)  # type: ignore[arg-type]
    # The very state that is asked about: once stored, it is the nearest.
    same = Event(0.0, 0, "store", 5)
    other_agents = Event(0.0, 1, "store", 5)
    for done_ms in (50.0, 100.5, 200.0):
        samples = answered(day, search, [(same, done_ms), (other_agents, 50.0)])
        assert check_trading(samples, day, search.kind).recall == 1.0
    samples = answered(day, search, [(same, 50.0)])
    assert samples.answers[0].ids[0] == "trade-5"
    # An answer that leaves out a trade confirmed before is not right.
    stale = answered(day, search, [(same, 200.0)])
    stale.requests[1] = samples.requests[1]
    assert check_trading(stale, day, search.kind).recall == pytest.approx(0.9)


def test_an_id_that_cannot_be_there_is_wrong(day: TradingDay) -> None:
    search = Event(0.1, 0, "pattern search", 5)
    samples = answered(day, search, [])
    right = samples.answers[0]
    samples.answers[0] = Answer(0, ("trade-99", *right.ids[1:]), True, False, False)
    assert check_trading(samples, day, "pattern search").recall == pytest.approx(0.9)
