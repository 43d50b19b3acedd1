"""The action that a plain trend follower takes.

It uses closing prices up to and including the day in question, and nothing later.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

_QUARTER: Final = 63
_BAND: Final = 0.03


def trend_actions(prices: NDArray[np.float64]) -> NDArray[np.str_]:
    """Return what a trend follower does at each day's close: `buy`, `sell` or `hold`.

    `buy` when the price has risen more than 3 % over the last 63 trading days (a quarter), `sell`
    when it has fallen more than 3 %, else `hold` (stay out). prices: (days,) above 0. Returns
    (days,) str; `hold` for the first 63 days, which have too little past.
    """
    change = np.zeros(len(prices))
    change[_QUARTER:] = prices[_QUARTER:] / prices[:-_QUARTER] - 1.0
    actions: NDArray[np.str_] = np.select(
        [change > _BAND, change < -_BAND], ["buy", "sell"], "hold"
    )
    return actions
