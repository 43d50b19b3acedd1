"""Walks the agent through time: learn outcomes, ask, decide, remember, next day."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.guide.trader import Expectation, Trader, buys
from demo.market import Windows

_BATCH = 500


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """What the agent expected and did. Arrays are (days, products) unless said otherwise.

    dates: (days,) decision days, `horizon` trading days apart. rewards: the price's change until
    the next decision, as a fraction. regimes: str. memory, own_stock: what it expected by its
    memory of all stocks, by which it acts, and by that of the same stock. bought: what it did.
    past_rewards, past_regimes: (earlier days, products) that it had studied before the first day.
    """

    products: tuple[str, ...]
    dates: NDArray[np.datetime64]
    rewards: NDArray[np.float64]
    regimes: NDArray[np.str_]
    memory: list[list[Expectation]]
    own_stock: list[list[Expectation]]
    bought: NDArray[np.bool_]
    past_rewards: NDArray[np.float64]
    past_regimes: NDArray[np.str_]


def decision_days(windows: Windows) -> Windows:
    """Return every `horizon_days`-th day's moments: each outcome is known at the next of them."""
    days = np.unique(windows.dates)[:: windows.horizon_days]
    chosen = windows.select(np.isin(windows.dates, days))
    if len(chosen) != len(days) * len(windows.products):
        raise ValueError("a product has no moment on some decision day")
    return chosen


async def walk(
    trader: Trader,
    windows: Windows,
    *,
    first_day: np.datetime64,
    on_day: Callable[[], object] = lambda: None,
) -> Walk:
    """Study the `decision_days` before `first_day`, then live through those from it on.

    Of what was studied, the moments whose outcome was not known at the first day are invisible
    until it is, by `as_of`. Raises TraderError.
    """
    past = np.flatnonzero(windows.dates < first_day)
    for start in range(0, len(past), _BATCH):
        await trader.study(windows, past[start : start + _BATCH].tolist())
    later = np.flatnonzero(windows.dates >= first_day).reshape(-1, len(windows.products))
    memory: list[list[Expectation]] = []
    own_stock: list[list[Expectation]] = []
    bought: list[list[bool]] = []
    yesterday: list[int] = []
    for rows in later.tolist():
        await asyncio.gather(*(trader.learn(windows, row) for row in yesterday))
        memory.append(await _expect(trader, windows, rows, only_product=False))
        own_stock.append(await _expect(trader, windows, rows, only_product=True))
        bought.append([buys(expected) for expected in memory[-1]])
        await asyncio.gather(
            *(
                trader.remember(windows, row, bought=did)
                for row, did in zip(rows, bought[-1], strict=True)
            )
        )
        yesterday = rows
        on_day()
    return Walk(
        products=windows.products,
        dates=windows.dates[later[:, 0]],
        rewards=windows.forward_returns[later],
        regimes=windows.regimes[later],
        memory=memory,
        own_stock=own_stock,
        bought=np.array(bought),
        past_rewards=windows.forward_returns[past].reshape(-1, later.shape[1]),
        past_regimes=windows.regimes[past].reshape(-1, later.shape[1]),
    )


async def _expect(
    trader: Trader, windows: Windows, rows: list[int], *, only_product: bool
) -> list[Expectation]:
    return await asyncio.gather(
        *(trader.expect(windows, row, only_product=only_product) for row in rows)
    )
