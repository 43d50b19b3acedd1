"""What came after a bar, and what kind of market it was in."""

from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from coinswarm_memory.errors import InvalidBars
from coinswarm_memory.market.bars import Bars, read_bars
from coinswarm_memory.market.encoder import Encoded

ValueT = TypeVar("ValueT", bound=np.generic)

UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True, eq=False)
class PerBar(Generic[ValueT]):
    """One value for each bar, by product and then by time.

    values, timestamps (unix seconds of the bar) and products: (n,). `known_at`: (n,) unix seconds
    of the bar at which the value is known; NaN if it is not.
    """

    values: npt.NDArray[ValueT]
    timestamps: npt.NDArray[np.float64]
    products: npt.NDArray[np.str_]
    known_at: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.values)

    def at(self, encoded: Encoded) -> "PerBar[ValueT]":
        """Return the values of the bars that these states end on, in their order.

        Raises InvalidBars when a state's bar is not among them.
        """
        rows = np.lexsort((self.timestamps, self.products))
        keys = _keys(self.products[rows], self.timestamps[rows])
        wanted = _keys(encoded.products, encoded.timestamps)
        places = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
        if not len(keys) or (keys[places] != wanted).any():
            raise InvalidBars("a state is of a bar that is not here: give both the same frame")
        return self.select(rows[places])

    def select(self, rows: npt.NDArray[Any]) -> "PerBar[ValueT]":
        """Return only these rows: a mask of n, or row numbers."""
        return PerBar(
            self.values[rows], self.timestamps[rows], self.products[rows], self.known_at[rows]
        )


def forward_returns(frame: object, horizon: int) -> PerBar[np.float64]:
    """Return the change of the close over the next `horizon` bars, as a fraction (0.05 is 5 % up).

    NaN if the frame ends before that. `known_at` is the time of the later bar: what an outcome's
    `outcome_at` is.
    """
    if horizon < 1:
        raise InvalidBars(f"horizon must be at least 1 bar, got {horizon}")
    return _joined([_forward(bars, horizon) for bars in read_bars(frame)])


def regimes(
    frame: object, *, slow: int = 200, year: int = 252, month: int = 21, band: float = 0.03
) -> PerBar[np.str_]:
    """Return the regime of each bar: trend, then volatility, such as `bull_low_vol`.

    Trend: `bull` more than `band` above the mean of the last `slow` closes, `bear` more than that
    below it, `sideways` between. Volatility: `high_vol` when the last `month` log returns deviate
    more than the last `year` do, else `low_vol`. Bars with too little past, or with a missing bar
    in it, are `unknown`. The lengths are in bars; the defaults suit daily ones.
    """
    return _joined([_regimes(bars, slow, year, month, band) for bars in read_bars(frame)])


def _forward(bars: Bars, horizon: int) -> PerBar[np.float64]:
    values = np.full(len(bars), np.nan)
    known_at = np.full(len(bars), np.nan)
    if len(bars) > horizon:
        values[:-horizon] = bars.close[horizon:] / bars.close[:-horizon] - 1.0
        known_at[:-horizon] = bars.times[horizon:]
    return PerBar(values, bars.times, np.full(len(bars), bars.product), known_at)


def _regimes(bars: Bars, slow: int, year: int, month: int, band: float) -> PerBar[np.str_]:
    labels = np.full(len(bars), UNKNOWN, dtype="<U17")
    first = max(year, slow - 1)
    if len(bars) > first:
        mean = sliding_window_view(bars.close, slow).mean(axis=1)[first - slow + 1 :]
        gap = bars.close[first:] / mean - 1.0
        trend = np.select([gap > band, gap < -band], ["bull", "bear"], "sideways")
        returns = np.diff(np.log(bars.close))
        long = sliding_window_view(returns, year).std(axis=1)[first - year :]
        short = sliding_window_view(returns, month).std(axis=1)[first - month :]
        named = np.strings.add(trend, np.where(short > long, "_high_vol", "_low_vol"))
        labels[first:] = np.where(np.isfinite(gap) & np.isfinite(long), named, UNKNOWN)
    return PerBar(labels, bars.times, np.full(len(bars), bars.product), bars.times)


def _joined(parts: list[PerBar[ValueT]]) -> PerBar[ValueT]:
    return PerBar(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.timestamps for part in parts]),
        np.concatenate([part.products for part in parts]),
        np.concatenate([part.known_at for part in parts]),
    )


def _keys(products: npt.NDArray[np.str_], times: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    keys = np.zeros(len(times), dtype=[("product", "<U128"), ("time", "f8")])
    keys["product"], keys["time"] = products, times
    return keys
