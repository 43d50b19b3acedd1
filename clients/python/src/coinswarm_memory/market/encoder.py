"""States out of prices: the same bars always give the same state."""

import json
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from coinswarm_memory.encode.vectors import Float32Array
from coinswarm_memory.errors import InvalidBars
from coinswarm_memory.market.bars import Bars, read_bars
from coinswarm_memory.market.features import Layout, Reference, random_walk_reference, states
from coinswarm_memory.market.findings import BarsWarning, Finding, findings, usable

VERSION: Final = 1
"""The version of what states are made of. Do not compare states of different versions."""

_SMALLEST_WINDOW = 16


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """n states, by product and then by time; also `states, timestamps = encoded`.

    states: (n, dimension) float32. timestamps: (n,) float64, unix seconds of the last bar in each,
    as the frame gives its time. products: (n,) str. findings: what is wrong with the bars.
    """

    states: Float32Array
    timestamps: npt.NDArray[np.float64]
    products: npt.NDArray[np.str_]
    findings: Sequence[Finding]

    def __len__(self) -> int:
        return len(self.states)

    def __iter__(self) -> Iterator[npt.NDArray[np.float32] | npt.NDArray[np.float64]]:
        yield self.states
        yield self.timestamps


class StateEncoder:
    """Turns bars of prices into state vectors (`features` says what they are made of).

    A state looks back on `window` bar-to-bar moves, so the first one is that of bar number `window`
    (from 0). It is made of these bars alone: no later bar and no other product changes it, and
    nothing is learned from the prices. `fit` only records which columns there are and the usual
    time between bars.

    Missing bars are never filled in. A state whose window holds a missing price, or two bars more
    than `max_gap_bars` usual times apart, is left out; that and bars without volume are reported by
    a BarsWarning and in `findings`. A day's pause of a market that closes at night is a gap: give a
    larger `max_gap_bars` for its hourly bars, or `float("inf")`.

    A frame often names a bar by its beginning, while its close is known at its end. Store states
    under the time at which they were known: `timestamps + encoder.bar_s`.
    """

    def __init__(
        self, window: int = 64, dimension: int = 256, *, max_gap_bars: float = 5.0
    ) -> None:
        if window < _SMALLEST_WINDOW:
            raise InvalidBars(f"window must be at least {_SMALLEST_WINDOW}, got {window}")
        if dimension < 8 or dimension % 8:
            raise InvalidBars(f"dimension must be a multiple of 8, got {dimension}")
        self.window = window
        self.dimension = dimension
        self.max_gap_bars = max_gap_bars
        self._layout: Layout | None = None
        self._reference: Reference | None = None
        self._bar_s = 0.0

    @property
    def bar_s(self) -> float:
        """The usual time between bars in seconds. Raises InvalidBars before `fit`."""
        self._fitted()
        return self._bar_s

    def fit(self, frame: object) -> Self:
        """Record the frame's columns and the time between its bars.

        Raises InvalidBars when the frame cannot be read (see `read_bars`) or has too few bars.
        """
        bars = [found for found in read_bars(frame) if len(found) > 1]
        if not bars:
            raise InvalidBars("there are too few bars to tell the time between them")
        layout = Layout(
            self.window,
            self.dimension,
            with_range=all(found.has_range for found in bars),
            with_volume=all(found.has_volume for found in bars),
        )
        self._layout = layout
        self._reference = random_walk_reference(layout)
        self._bar_s = float(np.median(np.concatenate([np.diff(found.times) for found in bars])))
        return self

    def transform(self, frame: object) -> Encoded:
        """Return a state for each bar of each product that has a whole window behind it.

        Raises InvalidBars when the frame cannot be read, lacks a column that `fit` saw, or has no
        whole window. Warns with BarsWarning of what is wrong with the bars.
        """
        layout, reference = self._fitted()
        parts = [self._encode(bars, layout, reference) for bars in read_bars(frame)]
        said = [finding for part in parts for finding in part.findings]
        if said:
            warnings.warn("; ".join(map(str, said)), BarsWarning, stacklevel=2)
        if not any(map(len, parts)):
            raise InvalidBars(
                f"no product has {self.window + 1} bars in a row without a gap: give more bars, a "
                "smaller window, or a larger max_gap_bars"
            )
        return Encoded(
            np.concatenate([part.states for part in parts]),
            np.concatenate([part.timestamps for part in parts]),
            np.concatenate([part.products for part in parts]),
            said,
        )

    def fit_transform(self, frame: object) -> Encoded:
        """Fit on these bars and return their states."""
        return self.fit(frame).transform(frame)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted encoder to a file (.npz). Raises InvalidBars before `fit`."""
        layout, reference = self._fitted()
        head = {
            "version": VERSION,
            "layout": asdict(layout),
            "bar_s": self._bar_s,
            "max_gap_bars": self.max_gap_bars,
        }
        with Path(path).open("wb") as file:
            np.savez(
                file,
                head=np.array(json.dumps(head)),
                mean=reference.mean,
                deviation=reference.deviation,
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return an encoder that was saved: it makes the same states.

        Raises InvalidBars for a file of another version, whose states must not be compared.
        """
        with np.load(path, allow_pickle=False) as file:
            head = json.loads(str(file["head"]))
            if head.get("version") != VERSION:
                raise InvalidBars(
                    f"{os.fspath(path)} is of version {head.get('version')}, this package makes "
                    f"version {VERSION}: store the states again with one version"
                )
            reference = Reference(file["mean"], file["deviation"])
        layout = Layout(**head["layout"])
        found = cls(layout.window, layout.dimension, max_gap_bars=head["max_gap_bars"])
        found._layout, found._reference, found._bar_s = layout, reference, head["bar_s"]
        return found

    def _fitted(self) -> tuple[Layout, Reference]:
        if self._layout is None or self._reference is None:
            raise InvalidBars("the encoder is not fitted: call fit(frame) first, or load one")
        return self._layout, self._reference

    def _encode(self, bars: Bars, layout: Layout, reference: Reference) -> Encoded:
        if (layout.with_range and not bars.has_range) or (
            layout.with_volume and not bars.has_volume
        ):
            raise InvalidBars(
                f"{bars.product or 'the frame'} lacks high, low or volume, fit had them"
            )
        if len(bars) <= self.window:
            nothing = np.zeros((0, self.dimension), np.float32)
            return Encoded(nothing, bars.times[:0], np.zeros(0, np.str_), [])
        rows = states(bars, layout, reference)
        between = usable(bars, self.max_gap_bars * self._bar_s)
        whole = sliding_window_view(between, self.window).all(axis=1)
        kept = whole & np.isfinite(rows).all(axis=1) & rows.any(axis=1)
        times = bars.times[self.window :][kept]
        said = findings(bars, between, still=int((whole & ~kept).sum()), layout=layout)
        return Encoded(rows[kept], times, np.full(len(times), bars.product), said)
