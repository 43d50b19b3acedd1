"""From market data to states: prices in, vectors to store and to ask with out."""

from coinswarm_memory.market.bars import Bars, read_bars
from coinswarm_memory.market.encoder import Encoded, StateEncoder
from coinswarm_memory.market.findings import BarsWarning, Finding
from coinswarm_memory.market.labels import PerBar, forward_returns, regimes

__all__ = [
    "Bars",
    "BarsWarning",
    "Encoded",
    "Finding",
    "PerBar",
    "StateEncoder",
    "forward_returns",
    "read_bars",
    "regimes",
]
