"""Reports what is wrong with bars, and repairs nothing."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from coinswarm_memory.market.bars import Bars
from coinswarm_memory.market.features import Layout


class BarsWarning(UserWarning):
    """Bars are missing or have no volume."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of fault in one product's bars.

    `kind`: missing_price, gap, zero_volume or no_movement. `first` and `last`: unix seconds of the
    bars concerned; a gap is named by the bar behind it.
    """

    product: str
    kind: str
    count: int
    first: float
    last: float

    def __str__(self) -> str:
        sentence = _SENTENCES[self.kind].format(self.count)
        name = f"{self.product}: " if self.product else ""
        return f"{name}{sentence}, {_day(self.first)} to {_day(self.last)}"


_SENTENCES = {
    "missing_price": "{} bars without a price or volume, no state is made of them",
    "gap": "{} gaps between bars, no state goes across one",
    "zero_volume": "{} bars without volume, used as they are",
    "no_movement": "{} windows in which nothing moves or nothing is traded, they have no state",
}


def usable(bars: Bars, longest_gap_s: float) -> npt.NDArray[np.bool_]:
    """Return whether each step between bars, shape (bars - 1,), may be part of a state."""
    there = _complete(bars)
    near: npt.NDArray[np.bool_] = np.diff(bars.times) <= longest_gap_s
    return near & there[1:] & there[:-1]


def _complete(bars: Bars) -> npt.NDArray[np.bool_]:
    """Return whether each bar is complete, shape (bars,)."""
    there = np.isfinite(bars.close)
    if bars.has_range:
        there &= np.isfinite(bars.high) & np.isfinite(bars.low)
    if bars.has_volume:
        there &= np.isfinite(bars.volume)
    return there


def findings(
    bars: Bars, between: npt.NDArray[np.bool_], *, still: int, layout: Layout
) -> list[Finding]:
    """Return what is wrong with these bars. `still`: windows without movement."""
    return list(_found(bars, between, still, layout))


def _found(
    bars: Bars, between: npt.NDArray[np.bool_], still: int, layout: Layout
) -> Iterator[Finding]:
    missing = ~_complete(bars)
    if missing.any():
        yield _finding(bars, "missing_price", np.flatnonzero(missing))
    apart = np.flatnonzero(~between & ~missing[1:] & ~missing[:-1]) + 1
    if len(apart):
        yield _finding(bars, "gap", apart)
    if layout.with_volume:
        idle = np.flatnonzero(bars.volume == 0)
        if len(idle):
            yield _finding(bars, "zero_volume", idle)
    if still:
        yield Finding(bars.product, "no_movement", still, bars.times[0], bars.times[-1])


def _finding(bars: Bars, kind: str, rows: npt.NDArray[np.intp]) -> Finding:
    first, last = float(bars.times[rows[0]]), float(bars.times[rows[-1]])
    return Finding(bars.product, kind, len(rows), first, last)


def _day(seconds: float) -> str:
    return str(np.datetime64(int(seconds), "s"))
