"""States out of prices: from frames of all kinds, without a future, and the same every time."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinswarm_memory import InvalidBars
from coinswarm_memory.market import (
    BarsWarning,
    StateEncoder,
    forward_returns,
    read_bars,
    regimes,
)
from coinswarm_memory.market import encoder as encoder_module
from coinswarm_memory.market.features import random_walk_reference

WINDOW, DIMENSION = 32, 32
DAY = 86_400


def prices(rows: int = 120, seed: int = 0) -> pd.DataFrame:
    """OHLCV bars of days as yfinance gives one product."""
    generator = np.random.default_rng(seed)
    path = 100 * np.exp(generator.normal(0, 0.01, (rows, 6)).cumsum().reshape(rows, 6))
    return pd.DataFrame(
        {
            "Open": path[:, 0],
            "High": path.max(axis=1),
            "Low": path.min(axis=1),
            "Close": path[:, -1],
            "Volume": generator.integers(1000, 9000, rows).astype(float),
        },
        index=pd.date_range("2020-01-01", periods=rows, name="Date"),
    )


def encoder(frame: object) -> StateEncoder:
    return StateEncoder(WINDOW, DIMENSION).fit(frame)


def _layouts() -> dict[str, object]:
    one, two = prices(), prices(seed=1)
    both = pd.concat({"AAA": one, "BBB": two}, axis=1)
    long = pd.concat([one.assign(symbol="AAA"), two.assign(symbol="BBB")]).reset_index()
    milliseconds = one.index.astype("datetime64[ms]").astype("int64")
    ccxt = one.rename(columns=str.lower).assign(timestamp=milliseconds).reset_index(drop=True)
    shouting = one.rename(columns=str.upper).reset_index()
    shouting["Date"] = shouting["Date"].dt.strftime("%Y-%m-%d")
    return {
        "yfinance, one": one,
        "with a zone": one.tz_localize("UTC").tz_convert("America/New_York"),
        "yfinance, by ticker": both,
        "yfinance, by price": both.swaplevel(axis=1),
        "long": long,
        "indexed by product": long.set_index(["symbol", "Date"]),
        "ccxt": ccxt,
        "csv": shouting,
        "polars": pl.from_pandas(long),
    }


@pytest.mark.parametrize("layout", _layouts())
def test_every_layout_gives_the_same_states(layout: str) -> None:
    frame = _layouts()[layout]
    wanted, times = encoder(prices()).transform(prices())
    found = encoder(frame).transform(frame)
    first = found.products == found.products[0]
    assert np.array_equal(found.states[first], wanted)
    assert np.array_equal(found.timestamps[first], times)
    assert wanted.shape == (120 - WINDOW, DIMENSION)
    assert wanted.dtype == np.float32
    assert times[0] == prices().index[WINDOW].timestamp()
    if "by" in layout or layout in {"long", "polars"}:
        assert set(found.products) == {"AAA", "BBB"}
        assert len(found) == 2 * len(wanted)


@settings(max_examples=40, deadline=None)
@given(
    cut=st.integers(WINDOW + 1, 119),
    seed=st.integers(0, 50),
    columns=st.sets(st.sampled_from(["High", "Volume"])),
    factor=st.floats(0.2, 5),
)
def test_no_later_bar_is_in_a_state(cut: int, seed: int, columns: set[str], factor: float) -> None:
    dropped = [name for name in ("High", "Low", "Volume") if name not in columns]
    frame = prices(seed=seed).drop(columns=dropped)
    other = frame.copy()
    other.iloc[cut:] *= np.linspace(1, factor, len(frame) - cut)[:, np.newaxis]
    here, there = encoder(frame).transform(frame), encoder(other).transform(other)
    before = here.timestamps < frame.index[cut].timestamp()
    assert before.sum() == cut - WINDOW
    assert np.array_equal(here.states[before], there.states[: before.sum()])
    short = encoder(frame).transform(frame.iloc[:cut])
    assert np.array_equal(short.states, here.states[before])
    late = encoder(frame).transform(frame.iloc[cut - WINDOW - 1 : cut])
    assert np.array_equal(late.states[-1], here.states[before][-1])


def test_states_are_standard_and_do_not_depend_on_the_unit() -> None:
    frame = prices(rows=2000)
    found = encoder(frame).transform(frame).states
    assert np.abs(found).max() <= 4
    assert 0.8 < found.std() < 1.2
    dear = frame * [1000, 1000, 1000, 1000, 7]
    assert np.allclose(found, encoder(dear).transform(dear).states, atol=0.01)


def test_features_by_hand() -> None:
    frame = prices(rows=60)[["Close"]]
    fitted = encoder(frame)
    assert fitted._layout is not None
    reference = random_walk_reference(fitted._layout)
    close = np.log(frame["Close"].to_numpy())
    points, short = DIMENSION // 4, 5
    for row, state in enumerate(fitted.transform(frame).states):
        path = close[row : row + WINDOW + 1]
        moves = np.diff(path)
        volatility = moves.std()
        latest = np.sqrt((moves[-short:] ** 2).mean()) / np.sqrt((moves**2).mean())
        drawdown = (path[-1] - path.max()) / (volatility * np.sqrt(WINDOW))
        momentum = moves.sum() / (volatility * np.sqrt(WINDOW))
        raw = [moves[-1] / volatility, momentum, np.log(latest), drawdown]
        at = [points - 1, 2 * points - 1, 3 * points - 1, 4 * points - 1]
        expected = (raw - reference.mean[at]) / reference.deviation[at]
        assert state[at] == pytest.approx(np.clip(expected, -4, 4), abs=1e-3)


def test_gaps_and_idle_bars_are_said_and_never_filled() -> None:
    frame = prices(rows=300)
    frame.iloc[100, frame.columns.get_loc("Close")] = np.nan
    frame.iloc[200:203, frame.columns.get_loc("Volume")] = 0
    frame = frame.drop(frame.index[150:160])
    fitted = encoder(frame)
    with pytest.warns(BarsWarning, match="1 bars without a price.*1 gaps.*3 bars without volume"):
        found = fitted.transform(frame)
    kinds = {finding.kind: finding for finding in found.findings}
    assert set(kinds) == {"missing_price", "gap", "zero_volume"}
    assert kinds["missing_price"].first == frame.index[100].timestamp()
    rows = [int(row) for row in frame.index.get_indexer(pd.to_datetime(found.timestamps, unit="s"))]
    left_out = set(range(WINDOW, len(frame))) - set(rows)
    assert left_out == set(range(100, 100 + WINDOW + 1)) | set(range(150, 150 + WINDOW))
    with pytest.raises(InvalidBars, match="without a gap"), pytest.warns(BarsWarning):
        fitted.transform(frame.iloc[90:130])


def test_a_price_that_stands_still_has_no_state() -> None:
    frame = prices(rows=100)
    frame.loc[frame.index[30:80], ["High", "Low", "Close"]] = 100.0
    with pytest.warns(BarsWarning, match="nothing moves"):
        found = encoder(frame).transform(frame)
    assert 0 < len(found) < 100 - WINDOW
    assert np.isfinite(found.states).all()


def test_a_saved_encoder_makes_the_same_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = prices()
    fitted = encoder(frame)
    fitted.save(tmp_path / "encoder.npz")
    loaded = StateEncoder.load(tmp_path / "encoder.npz")
    assert np.array_equal(loaded.transform(frame).states, fitted.transform(frame).states)
    assert loaded.bar_s == DAY
    monkeypatch.setattr(encoder_module, "VERSION", 2)
    with pytest.raises(InvalidBars, match="version 1"):
        StateEncoder.load(tmp_path / "encoder.npz")


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (prices().drop(columns="Close"), "no column close"),
        (prices().iloc[::-1], "not after the bar before"),
        (pd.concat([prices(), prices().tail(1)]), "not after the bar before"),
        (prices().reset_index(drop=True), "there is no time"),
        (prices().assign(Close="dear"), "must hold numbers"),
        ([1, 2, 3], "must be a data frame"),
    ],
)
def test_what_is_no_bars_is_refused(frame: Any, sentence: str) -> None:
    with pytest.raises(InvalidBars, match=sentence):
        read_bars(frame)


def test_an_encoder_says_what_it_lacks() -> None:
    with pytest.raises(InvalidBars, match="not fitted"):
        StateEncoder().transform(prices())
    with pytest.raises(InvalidBars, match="lacks"):
        encoder(prices()).transform(prices()[["Close"]])
    with pytest.raises(InvalidBars, match="window"):
        StateEncoder(window=3)
    with pytest.raises(InvalidBars, match="multiple of 8"):
        StateEncoder(dimension=30)


def test_prices_are_adjusted() -> None:
    frame = prices()
    split = frame.copy()
    split.iloc[:60, :4] *= 2
    split["Adj Close"] = frame["Close"]
    assert np.allclose(read_bars(split)[0].close, read_bars(frame)[0].close)
    assert np.allclose(read_bars(split)[0].high, read_bars(frame)[0].high)


def test_forward_returns_by_hand() -> None:
    frame = prices()
    close = frame["Close"].to_numpy()
    found = forward_returns(frame, 5)
    assert found.values[:-5] == pytest.approx(close[5:] / close[:-5] - 1)
    assert np.isnan(found.values[-5:]).all()
    assert found.known_at[0] - found.timestamps[0] == 5 * DAY
    both = pd.concat({"BBB": prices(seed=1), "AAA": frame}, axis=1)
    encoded = encoder(both).transform(both)
    at = forward_returns(both, 5).at(encoded)
    assert at.timestamps.tolist() == encoded.timestamps.tolist()
    assert at.products.tolist() == encoded.products.tolist()
    row = int(np.flatnonzero(encoded.products == "AAA")[3])
    assert at.values[row] == pytest.approx(close[WINDOW + 8] / close[WINDOW + 3] - 1)
    with pytest.raises(InvalidBars, match="same frame"):
        forward_returns(frame, 5).at(encoded)


def test_regimes_by_hand() -> None:
    frame = prices(rows=330)
    closes = frame["Close"].to_numpy()
    found = regimes(frame).values
    assert set(found[:252]) == {"unknown"}
    for day in range(252, 330):
        gap = closes[day] / closes[day - 199 : day + 1].mean() - 1
        trend = "bull" if gap > 0.03 else "bear" if gap < -0.03 else "sideways"
        returns = np.diff(np.log(closes[: day + 1]))
        unrest = "high_vol" if returns[-21:].std() > returns[-252:].std() else "low_vol"
        assert found[day] == f"{trend}_{unrest}"
    frame.iloc[300, frame.columns.get_loc("Close")] = np.nan
    assert set(regimes(frame).values[301:]) == {"unknown"}
    assert set(regimes(frame.head(100)).values) == {"unknown"}


def test_a_clean_frame_is_encoded_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder(prices()).transform(prices())
