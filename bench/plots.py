"""Plots as PNG. matplotlib draws without a screen."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bench.latency import CURVE_PERCENTS

SIZE_INCHES = (7.5, 4.2)
DOTS_PER_INCH = 100

_PLAIN = FuncFormatter(lambda value, _: f"{value:,g}")


@dataclass(frozen=True, slots=True)
class Line:
    """Points in order. `is_dashed` marks what was not measured here."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    is_dashed: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """A line and its bounds at each point."""

    line: Line
    low: Sequence[float]
    high: Sequence[float]


def distribution_plot(title: str, curves: Mapping[str, Sequence[float]]) -> bytes:
    """Draw latency by percentile, so that 99, 99.9 and 99.99 % are as far apart as 0 and 90.

    `curves` are milliseconds at `bench.latency.CURVE_PERCENTS`, by label.
    """
    figure, axes = _axes(title, x="share of requests answered within this time", y="latency (ms)")
    places = -np.log10(1 - np.clip(np.array(CURVE_PERCENTS) / 100, 0, 0.9999))
    for label, curve in curves.items():
        axes.plot(places, curve, label=label)
    marks = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99)
    axes.set_xticks([-np.log10(1 - m / 100) for m in marks], [f"{m:g} %" for m in marks])
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(_PLAIN)
    return _png(figure, axes)


def line_plot(
    title: str,
    lines: Sequence[Line],
    *,
    x: str,
    y: str,
    is_x_log: bool = False,
    is_y_log: bool = False,
) -> bytes:
    """Draw lines with points."""
    figure, axes = _axes(title, x=x, y=y)
    for line in lines:
        axes.plot(
            line.x,
            line.y,
            label=line.label,
            marker="x" if line.is_dashed else "o",
            markersize=4,
            linestyle="--" if line.is_dashed else "-",
        )
    if is_x_log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(_PLAIN)
    if is_y_log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_PLAIN)
    return _png(figure, axes)


def band_plot(title: str, bands: Sequence[Band], *, x: str, y: str) -> bytes:
    """Draw lines, each in the band between its least and its greatest values."""
    figure, axes = _axes(title, x=x, y=y)
    for band in bands:
        (line,) = axes.plot(band.line.x, band.line.y, label=band.line.label)
        axes.fill_between(band.line.x, band.low, band.high, alpha=0.15, color=line.get_color())
    return _png(figure, axes)


def _axes(title: str, *, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, which="both", alpha=0.25)
    return figure, axes


def _png(figure: Figure, axes: Axes) -> bytes:
    axes.legend(fontsize=8)
    buffer = io.BytesIO()
    # No date or version in the file: the same figures give the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
