import numpy as np
import pytest

from demo.actions import trend_actions
from demo.market import DIMENSION, FIRST_DAY, HORIZON_DAYS, Market, market_windows
from tests.demo.synthetic import random_market


def test_every_day_with_past_and_future_is_a_moment_in_order_of_time() -> None:
    market = random_market(days=560, products=3)
    windows = market_windows(market)
    days = 560 - FIRST_DAY - HORIZON_DAYS
    assert len(windows) == 3 * days
    assert windows.vectors.shape == (3 * days, DIMENSION)
    assert windows.vectors.dtype == np.float32
    assert windows.dates[0] == market.dates[FIRST_DAY]
    assert windows.dates[-1] == market.dates[-1 - HORIZON_DAYS]
    assert np.all(np.diff(windows.timestamps) >= 0)
    assert windows.product_index[:4].tolist() == [0, 1, 2, 0]


def test_vectors_are_finite_and_not_zero() -> None:
    vectors = market_windows(random_market(days=1500, products=2)).vectors
    assert np.isfinite(vectors).all()
    assert np.any(vectors != 0, axis=1).all()
    assert np.abs(vectors).max() <= 4


def test_a_second_build_is_identical() -> None:
    one, two = (market_windows(random_market()) for _ in range(2))
    assert one.vectors.tobytes() == two.vectors.tobytes()
    assert one.regimes.tolist() == two.regimes.tolist()
    assert one.rewards.tobytes() == two.rewards.tobytes()


@pytest.mark.parametrize("cut", [FIRST_DAY + 1, FIRST_DAY + 17, FIRST_DAY + 40])
def test_later_prices_change_nothing_known_earlier(cut: int) -> None:
    market = random_market(days=FIRST_DAY + 90)
    prices = market.prices.copy()
    prices[cut:] = prices[cut:] * np.linspace(0.2, 3.0, len(prices) - cut)[:, np.newaxis]
    other = market_windows(Market(market.products, market.dates, prices))
    windows = market_windows(market)
    before = windows.dates < market.dates[cut]
    assert before.sum() == 3 * (cut - FIRST_DAY)
    assert np.array_equal(windows.vectors[before], other.vectors[before])
    assert np.array_equal(windows.regimes[before], other.regimes[before])
    assert np.array_equal(windows.actions[before], other.actions[before])
    assert not np.array_equal(windows.vectors[~before], other.vectors[~before])


def test_the_vector_does_not_depend_on_the_unit_of_the_price() -> None:
    market = random_market(days=FIRST_DAY + 30, products=1)
    dear = Market(market.products, market.dates, market.prices * 1000.0)
    assert np.allclose(market_windows(market).vectors, market_windows(dear).vectors, atol=0.01)


def test_rewards_by_hand() -> None:
    market = random_market(days=FIRST_DAY + 40, products=1)
    windows = market_windows(market, horizon_days=2)
    prices = market.prices[:, 0]
    assert {"buy", "sell", "hold"} >= set(windows.actions.tolist())
    held = {"buy": 1.0, "sell": -1.0, "hold": 0.0}
    for row in range(len(windows)):
        day = FIRST_DAY + row
        change = prices[day + 2] / prices[day] - 1
        assert windows.forward_returns[row] == pytest.approx(change)
        assert windows.rewards[row] == pytest.approx(change * held[str(windows.actions[row])])
        assert windows.outcome_at[row] - windows.timestamps[row] == 2 * 86_400
    first = np.datetime64(int(windows.timestamps[0]), "s")
    assert first == market.dates[FIRST_DAY] + np.timedelta64(21, "h")


@pytest.mark.parametrize(("daily", "action"), [(1.004, "buy"), (0.996, "sell")])
def test_a_trend_is_followed(daily: float, action: str) -> None:
    noise = 1 + 0.001 * np.cos(np.arange(300) * np.pi)
    prices = 100 * daily ** np.arange(300) * noise
    assert trend_actions(prices)[-1] == action


def test_a_price_that_never_moved_is_left_out() -> None:
    market = random_market(days=FIRST_DAY + 30, products=2)
    prices = market.prices.copy()
    prices[:, 1] = 10.0
    windows = market_windows(Market(market.products, market.dates, prices))
    assert set(windows.product_index.tolist()) == {0}


def test_bad_markets_are_refused() -> None:
    market = random_market()
    with pytest.raises(ValueError, match="not above 0"):
        Market(market.products, market.dates, market.prices * 0)
    with pytest.raises(ValueError, match="shape"):
        Market(market.products[:1], market.dates, market.prices)
    with pytest.raises(ValueError, match="ascend"):
        Market(market.products, market.dates[::-1], market.prices)
    with pytest.raises(ValueError, match="too few"):
        market_windows(Market(market.products, market.dates[:500], market.prices[:500]))
    with pytest.raises(ValueError, match="horizon_days"):
        market_windows(market, horizon_days=0)


def test_actions_by_hand() -> None:
    prices = random_market(days=330, products=3).prices[:, 2]
    actions = trend_actions(prices)
    assert trend_actions(prices[:60]).tolist() == ["hold"] * 60
    for day in range(63, 330):
        change = prices[day] / prices[day - 63] - 1
        assert actions[day] == ("buy" if change > 0.03 else "sell" if change < -0.03 else "hold")
