"""The guide's agent in small: what it expects is what was known, and nothing later."""

import dataclasses

import httpx
import numpy as np
import pytest

from app.embedded import EmbeddedNode
from app.settings import Settings
from bench.report import markdown
from bench.studies.memory_worth import example
from demo.episodes import episode_id
from demo.guide import rivals, worth
from demo.guide.trader import COST, NEIGHBOURS, Expectation, Trader, TraderError, buys
from demo.guide.walk import Walk, decision_days, walk
from demo.market import Windows, market_windows
from tests.conftest import running_service
from tests.demo.synthetic import random_market
from tests.kit.service_process import NO_TLS

MOMENTS = decision_days(market_windows(random_market(days=800, products=3, seed=9), horizon_days=5))
FIRST_DAY = np.unique(MOMENTS.dates)[20]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"dimension": 256, "require_as_of": True})


def known_then(windows: Windows, row: int) -> Expectation:
    """The estimate of a buy by hand, from the outcomes that were known at the moment."""
    known = np.flatnonzero(windows.outcome_at <= windows.timestamps[row])
    unit = windows.vectors / np.linalg.norm(windows.vectors, axis=1, keepdims=True)
    distances = 1 - unit[known] @ unit[row]
    nearest = np.argsort(distances)[:NEIGHBOURS]
    weights = 1 / (distances[nearest] + 1e-3)
    rewards = windows.forward_returns[known[nearest]]
    value = np.average(rewards, weights=weights)
    effective_n = weights.sum() ** 2 / (weights**2).sum()
    # Unbiased for weights of reliability: the squares are short by 1 / effective_n of the whole.
    spread = np.average((rewards - value) ** 2, weights=weights) / (1 - 1 / effective_n)
    return Expectation(float(value), float(np.sqrt(spread)), float(effective_n))


async def test_the_agent_knows_what_was_known_and_lives_by_it(settings: Settings) -> None:
    async with running_service(settings) as client:
        trader = Trader(client, "trader")
        walked = await walk(trader, MOMENTS, first_day=FIRST_DAY)
        now = {"agent_id": "trader", "limit": 1000, "as_of": float(MOMENTS.outcome_at.max())}
        closed = (await client.post("/v1/episodic/query", json=now)).json()["memories"]
        rows = np.flatnonzero(MOMENTS.dates >= FIRST_DAY).reshape(-1, 3)
        for day, of_day in enumerate(rows.tolist()):
            for product, row in enumerate(of_day):
                found, right = walked.memory[day][product], known_then(MOMENTS, row)
                assert found.value == pytest.approx(right.value, abs=2e-6)
                assert found.stdev == pytest.approx(right.stdev, abs=2e-6)
                assert found.effective_n == pytest.approx(right.effective_n, rel=1e-3)
                assert walked.bought[day, product] == buys(found)
        assert 0 < walked.bought.mean() < 1
        # The last day's moments are open: their outcome is the day after the walk.
        ids = {episode_id(MOMENTS, row) for row in range(len(MOMENTS) - 3)}
        assert {memory["id"] for memory in closed} == ids
        noted = {m["id"]: m["metadata"]["bought"] for m in closed if m["metadata"]}
        lived = zip(rows[:-1].ravel(), walked.bought[:-1].ravel(), strict=True)
        assert noted == {episode_id(MOMENTS, int(row)): bool(bought) for row, bought in lived}


async def test_a_future_that_is_stored_already_is_not_seen(settings: Settings) -> None:
    rows = list(range(len(MOMENTS)))
    async with running_service(settings) as client:
        trader = Trader(client, "trader")
        await trader.study(MOMENTS, rows)
        for row in rows[60::5]:
            found = await trader.expect(MOMENTS, row, only_product=False)
            assert found.value == pytest.approx(known_then(MOMENTS, row).value, abs=2e-6)


async def test_the_whole_example_in_small(settings: Settings, redis_node: EmbeddedNode) -> None:
    async with running_service(settings) as client:
        first_day = np.unique(MOMENTS.dates)[40]
        found = await example(str(client.base_url), redis_node.url, MOMENTS, first_day)
    text = markdown(found)
    assert "| memory of all stocks | " in text
    assert "120 closed experiences of 1 owner" in text
    assert " patterns were the nearest to a later moment. " in text


async def test_a_refusal_is_said(settings: Settings) -> None:
    async with running_service(settings) as client:
        trader = Trader(client, "trader")
        with pytest.raises(TraderError, match="The service refuses /v1/episodic/trader/"):
            await trader.learn(MOMENTS, 0)
    async with httpx.AsyncClient(base_url="http://127.0.0.1:9", verify=NO_TLS) as nobody:
        with pytest.raises(TraderError, match="did not answer"):
            await Trader(nobody, "trader").expect(MOMENTS, 0, only_product=True)


def test_the_rule_wants_support_and_more_than_the_costs() -> None:
    good = Expectation(value=0.01, stdev=0.02, effective_n=16)
    assert buys(good)
    assert not buys(dataclasses.replace(good, effective_n=9.9))
    assert not buys(dataclasses.replace(good, stdev=0.04))
    assert not buys(Expectation())
    assert not buys(dataclasses.replace(good, stdev=None))


async def test_a_single_moment_has_no_deviation() -> None:
    """The service says null, and neither the rule nor the figures stumble over it."""
    one = {"action": "buy", "value": 0.1, "stdev": None, "effective_n": 1.0}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"actions": [one]}))
    async with httpx.AsyncClient(base_url="http://memory", transport=transport) as client:
        found = await Trader(client, "trader").expect(MOMENTS, 0, only_product=False)
    assert found.stdev is None
    assert not buys(found)
    assert worth.stdevs([[found, Expectation(stdev=0.5)]]).tolist() == [[0.0, 0.5]]


def by_hand() -> Walk:
    """Two days that were studied and two that were lived, of two stocks."""
    unknown = [[Expectation(), Expectation()]] * 2
    return Walk(
        products=("A", "B"),
        dates=np.array(["2001-01-01", "2001-01-02"], dtype="datetime64[D]"),
        rewards=np.array([[0.1, 0.3], [0.5, 0.9]]),
        regimes=np.array([["up", "down"], ["up", "up"]]),
        memory=unknown,
        own_stock=unknown,
        bought=np.array([[True, False], [True, True]]),
        past_rewards=np.tile([[0.0, 0.2], [0.4, -0.2]], (10, 1)),
        past_regimes=np.tile([["up", "down"], ["down", "up"]], (10, 1)),
    )


def test_rivals_know_the_days_before_only() -> None:
    walked = by_hand()
    first, second = rivals.means(walked, of_regime=False, of_stock=False)
    assert first[0].value == pytest.approx(0.1)
    assert second[1].value == pytest.approx((40 * 0.1 + 0.1 + 0.3) / 42)
    first, second = rivals.means(walked, of_regime=True, of_stock=False)
    assert [one.value for one in first] == pytest.approx([-0.1, 0.3])
    assert second[0].value == pytest.approx((20 * -0.1 + 0.1) / 21)
    first, _ = rivals.means(walked, of_regime=False, of_stock=True)
    assert [one.value for one in first] == pytest.approx([0.2, 0.0])
    first, _ = rivals.means(walked, of_regime=True, of_stock=True)
    assert [one.value for one in first] == pytest.approx([0.0, 0.2])
    one, other = (rivals.coins(walked, share=0.5, count=3, seed=5) for _ in range(2))
    assert np.array_equal(one, other)


def test_costs_are_paid_where_a_position_begins_or_ends() -> None:
    walked = by_hand()
    net = worth.net_rewards(walked.bought, walked.rewards)
    assert net == pytest.approx([(0.1 - COST) / 2, (0.5 + 0.9 - COST) / 2])
    sold = worth.net_rewards(np.array([[True, True], [False, True]]), walked.rewards)
    assert sold == pytest.approx([(0.4 - 2 * COST) / 2, (0.9 - COST) / 2])


def test_a_forecast_is_worth_the_error_that_it_avoids() -> None:
    rewards = np.random.default_rng(1).normal(size=(60, 4))
    plain = np.zeros_like(rewards)
    half = worth.explained(rewards / 2, plain, rewards, seed=1)
    assert (half.value, half.low, half.high) == pytest.approx((0.75, 0.75, 0.75))
    assert worth.explained(-rewards, plain, rewards, seed=1).value == pytest.approx(-3)
    assert worth.foreseen_size(np.abs(rewards), plain, rewards) == pytest.approx(1)
    assert worth.foreseen_size(np.ones_like(rewards), plain, rewards) == 0
    mean = worth.mean_interval(rewards[:, 0], seed=1)
    assert mean.value == pytest.approx(rewards[:, 0].mean())
    assert mean.low < mean.value < mean.high
