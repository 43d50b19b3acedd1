import numpy as np
import pytest

from demo.features import BURN_IN, DIMENSION, FIRST_DAY, LOOKBACK, state_vectors
from demo.market import HORIZON_DAYS, Market, market_windows
from demo.regimes import label_regimes, trend_actions
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


def test_vectors_are_finite_not_zero_and_about_standard() -> None:
    vectors = market_windows(random_market(days=1500, products=2)).vectors
    assert np.isfinite(vectors).all()
    assert np.any(vectors != 0, axis=1).all()
    assert np.abs(vectors).max() <= 4
    assert 0.7 < vectors.std() < 1.4


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


def test_a_market_cut_short_has_the_same_vectors() -> None:
    prices = random_market(days=FIRST_DAY + 60, products=1).prices[:, 0]
    short = state_vectors(prices[: FIRST_DAY + 20])
    assert np.array_equal(short, state_vectors(prices)[:20])


def test_the_vector_does_not_depend_on_the_unit_of_the_price() -> None:
    prices = random_market(days=FIRST_DAY + 30, products=1).prices[:, 0]
    assert np.allclose(state_vectors(prices), state_vectors(prices * 1000.0), atol=0.01)


def test_features_by_hand() -> None:
    prices = random_market(days=FIRST_DAY + 5, products=1).prices[:, 0]
    raw = []
    for day in range(LOOKBACK, len(prices)):
        returns = np.diff(np.log(prices[day - LOOKBACK : day + 1]))
        volatility = returns.std()
        year = np.log(prices[day - LOOKBACK : day + 1])
        raw.append(
            (
                returns[-1] / volatility,
                returns.sum() / (volatility * np.sqrt(LOOKBACK)),
                np.log(returns[-21:].std() / volatility),
                (year[-1] - year.max()) / (volatility * np.sqrt(LOOKBACK)),
            )
        )
    known = np.array(raw)
    vectors = state_vectors(prices)
    for row, vector in enumerate(vectors):
        past = known[: BURN_IN + row + 1]
        expected = np.clip((past[-1] - past.mean(axis=0)) / past.std(axis=0), -4, 4)
        assert vector[[63, 127, 191, 255]] == pytest.approx(expected, abs=1e-3)


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


@pytest.mark.parametrize(
    ("daily", "action", "regime"), [(1.004, "buy", "bull"), (0.996, "sell", "bear")]
)
def test_a_trend_is_followed(daily: float, action: str, regime: str) -> None:
    noise = 1 + 0.001 * np.cos(np.arange(300) * np.pi)
    prices = 100 * daily ** np.arange(300) * noise
    assert trend_actions(prices)[-1] == action
    assert label_regimes(prices)[-1].startswith(f"{regime}_")


def test_a_calm_month_in_a_wild_year_is_low_volatility_and_the_other_way_round() -> None:
    swing = np.where(np.arange(300) % 2, 1.0, -1.0)
    late = np.arange(300) >= 275
    calm = 100 * np.exp(np.where(late, 0.001, 0.02) * swing)
    wild = 100 * np.exp(np.where(late, 0.02, 0.001) * swing)
    assert label_regimes(calm)[-1] == "sideways_low_vol"
    assert label_regimes(wild)[-1] == "sideways_high_vol"
    assert set(label_regimes(calm)[:252].tolist()) == {"unknown"}
    assert label_regimes(calm[:100]).tolist() == ["unknown"] * 100
    assert trend_actions(calm[:60]).tolist() == ["hold"] * 60


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
    assert state_vectors(market.prices[:100, 0]).shape == (0, DIMENSION)


def test_regimes_and_actions_by_hand() -> None:
    prices = random_market(days=330, products=3).prices[:, 2]
    regimes, actions = label_regimes(prices), trend_actions(prices)
    for day in range(252, 330):
        gap = prices[day] / prices[day - 199 : day + 1].mean() - 1
        trend = "bull" if gap > 0.03 else "bear" if gap < -0.03 else "sideways"
        returns = np.diff(np.log(prices[: day + 1]))
        unrest = "high_vol" if returns[-21:].std() > returns[-252:].std() else "low_vol"
        assert regimes[day] == f"{trend}_{unrest}"
        change = prices[day] / prices[day - 63] - 1
        assert actions[day] == ("buy" if change > 0.03 else "sell" if change < -0.03 else "hold")
    assert len(set(regimes[252:].tolist())) > 2
