"""Chooses which moments the demo stores, and which later ones it asks about."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.episodes import episode_id
from demo.market import Windows


class PlanError(Exception):
    """The years or questions do not fit the data; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which moments are stored (`stored`) and which later ones are asked about (row numbers)."""

    windows: Windows
    stored: Windows
    questions: list[int]


def plan(
    windows: Windows,
    *,
    years: tuple[int, int],
    limit: int | None = None,
    questions: int = 3,
    ask: Sequence[str] | None = None,
) -> Plan:
    """Divide the moments into those to store and those to ask about.

    Stored are the moments of `years` whose outcome was known before the next year began, so that
    no answer knows anything of the year that is asked about; of these the `limit` latest. Asked
    are `questions` moments spread evenly over that next year's days and over the products, or those
    named by `ask`.
    Raises PlanError when a part would be empty.
    """
    first, last = (np.datetime64(f"{year:04d}-01-01") for year in (years[0], years[1] + 1))
    known = windows.outcome_at < last.astype("datetime64[s]").astype(np.float64)
    rows = np.flatnonzero(known & (windows.dates >= first))
    later = np.flatnonzero(windows.dates.astype("datetime64[Y]") == last.astype("datetime64[Y]"))
    if not len(rows) or not len(later):
        span = f"{windows.dates[0]} to {windows.dates[-1]}"
        raise PlanError(f"These years leave nothing to store or to ask; there are moments {span}.")
    stored = windows.select(rows[-limit:] if limit else rows)
    return Plan(windows, stored, _questions(windows, later, questions, ask))


def _questions(
    windows: Windows, later: NDArray[np.intp], count: int, ask: Sequence[str] | None
) -> list[int]:
    if ask is None:
        # The middles of `count` equal parts, of the year and of the products.
        parts = (np.arange(count) + 0.5) / count
        days = np.unique(windows.dates[later])
        chosen = [later[windows.dates[later] == days[int(part * len(days))]] for part in parts]
        return [int(rows[int(part * len(rows))]) for part, rows in zip(parts, chosen, strict=True)]
    named = {episode_id(windows, int(row)): int(row) for row in later}
    unknown = [name for name in ask if name not in named]
    if unknown:
        raise PlanError(
            f"No moment {unknown[0]} to ask about; there are {next(iter(named))} "
            f"to {list(named)[-1]} of {', '.join(windows.products)}."
        )
    return [named[name] for name in ask]
