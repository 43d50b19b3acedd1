"""Bars of prices out of data frames, as yfinance, ccxt and CSV files give them."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from coinswarm_memory.errors import InvalidBars
from coinswarm_memory.packages import require

if TYPE_CHECKING:
    import pandas as pd

Array: TypeAlias = npt.NDArray[np.float64]

_PRODUCT_NAMES = ("product", "product_id", "symbol", "ticker", "asset", "instrument", "code")
_TIME_NAMES = ("timestamp", "datetime", "date", "time", "open_time", "close_time")
_MILLISECONDS_FROM = 1e11


def _empty() -> Array:
    return np.zeros(0)


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """The bars of one product in order of time; every array has n rows.

    times: unix seconds as the frame gives them. close: above 0 or NaN (missing). high, low, volume:
    the same, or no rows if the frame has none.
    """

    product: str
    times: Array
    close: Array
    high: Array = field(default_factory=_empty)
    low: Array = field(default_factory=_empty)
    volume: Array = field(default_factory=_empty)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def has_range(self) -> bool:
        """Whether high and low are known."""
        return len(self.high) == len(self.low) == len(self) > 0

    @property
    def has_volume(self) -> bool:
        """Whether volume is known."""
        return len(self.volume) == len(self) > 0


def read_bars(frame: object) -> list[Bars]:
    """Return the bars of each product in a data frame, in the order of their names.

    The frame has columns open, high, low, close and volume in any case, of which only close must be
    there, and one row for each bar. Several products are a level of the columns (yfinance), a level
    of the index, or a column such as `symbol`. The time is the index or a column such as `date`:
    timestamps (those without a zone are UTC), ISO strings, or unix seconds or milliseconds. If
    there is `adj close`, all prices are adjusted by it.

    Raises InvalidBars if the frame has another form, if bars are out of order or repeated, or if a
    price is not a number.
    """
    pandas = require("pandas", "market")
    table = frame if isinstance(frame, pandas.DataFrame) else _from_other(frame)
    return [_bars(name, part) for name, part in sorted(_by_product(table).items())]


def _from_other(frame: object) -> "pd.DataFrame":
    narwhals = require("narwhals", "frames")
    try:
        table: pd.DataFrame = narwhals.from_native(frame, eager_only=True).to_pandas()
    except TypeError as error:
        raise InvalidBars(f"prices must be a data frame, got {type(frame).__name__}") from error
    return table


def _by_product(frame: "pd.DataFrame") -> "dict[str, pd.DataFrame]":
    if frame.columns.nlevels > 1:
        return _split_columns(frame)
    if frame.index.nlevels > 1:
        return _split_index(frame)
    named = _find(frame, _PRODUCT_NAMES)
    if named is None:
        return {str(frame.attrs.get("product", "")): frame}
    return {
        str(product): part.drop(columns=named) for product, part in frame.groupby(named, sort=True)
    }


def _split_columns(frame: "pd.DataFrame") -> "dict[str, pd.DataFrame]":
    for level in range(frame.columns.nlevels):
        if "close" in {str(name).lower() for name in frame.columns.get_level_values(level)}:
            other = 1 - level
            break
    else:
        raise InvalidBars("no level of the columns has a close")
    products = frame.columns.get_level_values(other).unique()
    # Where one product did not trade while others did, the frame has a row of nothing.
    return {str(name): frame.xs(name, axis=1, level=other).dropna(how="all") for name in products}


def _split_index(frame: "pd.DataFrame") -> "dict[str, pd.DataFrame]":
    pandas = require("pandas", "market")
    for level in range(frame.index.nlevels):
        if not pandas.api.types.is_datetime64_any_dtype(frame.index.levels[level]):
            parts = frame.groupby(level=level, sort=True)
            return {str(name): part.droplevel(level) for name, part in parts}
    raise InvalidBars("no level of the index names a product")


def _bars(product: str, frame: "pd.DataFrame") -> Bars:
    columns = {_plain(name): name for name in frame.columns}
    if "close" not in columns:
        names = ", ".join(map(str, frame.columns))
        raise InvalidBars(f"there is no column close; there are {names}")
    times = _times(frame)
    wrong = np.flatnonzero(np.diff(times) <= 0)
    if len(wrong):
        when = np.datetime64(int(times[wrong[0] + 1]), "s")
        raise InvalidBars(f"{product or 'the bars'}: {when} is not after the bar before: sort them")
    read = {
        name: _prices(frame[columns[name]], name)
        for name in ("close", "high", "low", "volume", "adjclose")
        if name in columns
    }
    ratio = read.pop("adjclose") / read["close"] if "adjclose" in read else 1.0
    prices = {name: read[name] * ratio for name in ("close", "high", "low") if name in read}
    for name, column in prices.items():
        prices[name] = np.where(column > 0, column, np.nan)
    if "high" in prices and "low" in prices:
        # A bar whose high is below its low is no bar: its close cannot be trusted either.
        bad = prices["high"] < prices["low"]
        prices["close"] = np.where(bad, np.nan, prices["close"])
    return Bars(product, times, **prices, volume=read.get("volume", _empty()))


def _prices(column: Any, name: str) -> Array:
    try:
        values: Array = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise InvalidBars(f"column {name} must hold numbers ({error})") from error
    return values


def _times(frame: "pd.DataFrame") -> Array:
    pandas = require("pandas", "market")
    named = _find(frame, _TIME_NAMES)
    given = frame.index.to_series() if named is None else frame[named]
    if pandas.api.types.is_numeric_dtype(given):
        if named is None:
            raise InvalidBars("there is no time: give a DatetimeIndex or a column `timestamp`")
        seconds: Array = given.to_numpy(dtype=np.float64)
        is_milliseconds = len(seconds) > 0 and float(np.abs(seconds).max()) > _MILLISECONDS_FROM
        return seconds / 1000.0 if is_milliseconds else seconds
    try:
        moments = pandas.to_datetime(given, utc=True).to_numpy(dtype="datetime64[us]")
    except (TypeError, ValueError) as error:
        raise InvalidBars(f"the times of the bars cannot be read ({error})") from error
    if np.isnat(moments).any():
        raise InvalidBars(f"bar {int(np.flatnonzero(np.isnat(moments))[0])} has no time")
    return np.asarray(moments.astype(np.int64) / 1e6, np.float64)


def _find(frame: "pd.DataFrame", names: tuple[str, ...]) -> Any:
    found = {str(column).lower(): column for column in frame.columns}
    return next((found[name] for name in names if name in found), None)


def _plain(name: object) -> str:
    return str(name).lower().replace(" ", "").replace("_", "")
