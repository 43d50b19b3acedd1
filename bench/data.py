"""What is stored and what is asked: seeded random vectors, or real moments of the stock market.

Random vectors are the specification's data. They are the hardest there are for approximate
indexes, because among them everything is about equally far apart. The real ones are the demo's
(20 US stocks, 1990 to 2022), and their questions are always later in time than what is stored.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from demo.market import Windows

DataKind = Literal["random", "market"]
DATA_KINDS: tuple[DataKind, ...] = ("random", "market")

QUESTION_DAYS = 1000
"""The last days of the market data (2019 to 2022): asked about, never stored."""

QUESTIONS = 20_000
"""Different states to ask about: enough that no agent asks the same twice in a run, which a cache
would answer.
"""

WINDOW = 256
"""Numbers in one of the market's windows."""

_STEP_DAYS = 21
_FIRST_TIMESTAMP = 1_500_000_000.0
_REGIMES = np.array(["bull", "bear", "calm", "storm"])
_ACTIONS = np.array(["buy", "sell", "hold"])


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """n moments; every array has n rows. vectors: (n, d) float32; timestamps: unix seconds."""

    vectors: NDArray[np.float32]
    products: NDArray[np.str_]
    regimes: NDArray[np.str_]
    actions: NDArray[np.str_]
    rewards: NDArray[np.float64]
    timestamps: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.vectors)

    def select(self, rows: NDArray[np.int64]) -> "Moments":
        """Return these rows, in the order given."""
        return Moments(
            self.vectors[rows],
            self.products[rows],
            self.regimes[rows],
            self.actions[rows],
            self.rewards[rows],
            self.timestamps[rows],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """`stored[i]` is what agent `agent_ids[i]` remembers; `asked` are states to ask about."""

    agent_ids: tuple[str, ...]
    stored: tuple[Moments, ...]
    asked: Moments

    @property
    def total(self) -> int:
        """How many memories are stored in all."""
        return sum(len(moments) for moments in self.stored)


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """The market's `past`, which is stored, and what came `later`, which is asked about."""

    past: Moments
    later: Moments


def random_moments(count: int, dimension: int, seed: list[int], product: str = "RND") -> Moments:
    """Return the same moments for the same arguments on every machine."""
    generator = np.random.default_rng(seed)
    return Moments(
        vectors=generator.standard_normal((count, dimension), dtype=np.float32),
        products=np.full(count, product),
        regimes=generator.choice(_REGIMES, count),
        actions=generator.choice(_ACTIONS, count),
        rewards=np.round(generator.normal(0, 0.02, count), 6),
        timestamps=_FIRST_TIMESTAMP + 60.0 * np.arange(count, dtype=np.float64),
    )


def workload(
    kind: DataKind,
    *,
    name: str,
    agents: int,
    memories_each: int,
    questions: int,
    dimension: int,
    seed: int,
    with_memories: bool = True,
) -> Workload:
    """Return agents `NAME-KIND-0000` and on. `with_memories` False: only the questions, nothing
    stored.

    Random questions are drawn as the memories are. Of the market, each agent has one product's
    consecutive days, or with more agents than products an earlier stretch of them; one that
    remembers more days than one product has trades all of them. Questions come from the last 1,000
    days, in a random order. Raises ValueError when there is not that much history, and for a
    dimension that market windows do not have.
    """
    if kind == "random":
        asked = random_moments(questions, dimension, [seed, 2])
    else:
        history = market_history(dimension)
        rows = np.random.default_rng([seed, 3]).choice(
            len(history.later), questions, replace=questions > len(history.later)
        )
        asked = history.later.select(rows.astype(np.int64))
    agent_ids = _agent_ids(name, kind, agents)
    if not with_memories:
        return Workload(agent_ids, (), asked)
    if kind == "market":
        stretches = _stretches(history.past, agents, memories_each)
        stored = [history.past.select(rows) for rows in stretches]
    else:
        stored = [random_moments(memories_each, dimension, [seed, 1, a]) for a in range(agents)]
    return Workload(agent_ids, tuple(stored), asked)


def trading_workload(
    history: History, *, name: str, agents: int, memories_each: int
) -> tuple[Workload, list[Moments]]:
    """Return agents with one product each, and what that product does next, in time order."""
    past, later = history.past, history.later
    products = set(past.products.tolist())
    if agents > len(products):
        raise ValueError(f"there are {len(products)} products, not {agents}: one for each agent")
    stored = tuple(past.select(r) for r in _stretches(past, agents, memories_each))
    ahead = [later.select(np.flatnonzero(later.products == m.products[0])) for m in stored]
    return Workload(_agent_ids(name, "market", agents), stored, later), ahead


def _agent_ids(name: str, kind: str, agents: int) -> tuple[str, ...]:
    return tuple(f"{name}-{kind}-{agent:04d}" for agent in range(agents))


def _stretches(past: Moments, agents: int, memories_each: int) -> list[NDArray[np.int64]]:
    """Return the row numbers of each agent's memories, in order of time."""
    products = sorted(set(past.products.tolist()))
    rows_of = [np.flatnonzero(past.products == product) for product in products]
    longest = min(len(rows) for rows in rows_of)
    if memories_each > longest:
        if agents * memories_each > len(past):
            raise ValueError(f"the market has {len(past)} moments: ask for fewer memories")
        rows = np.arange(len(past) - agents * memories_each, len(past))
        return list(rows.reshape(agents, memories_each))
    found = []
    for agent in range(agents):
        back, product = divmod(agent, len(products))
        end = len(rows_of[product]) - back * memories_each
        if end < memories_each:
            raise ValueError("the market has too few days for this many agents: ask for fewer")
        found.append(rows_of[product][end - memories_each : end])
    return found


def random_history(
    *, products: int, days: int, later_days: int, dimension: int, seed: int
) -> History:
    """Return a made-up market: for each product `days` random states, and `later_days` after
    them."""

    def moments(count: int, kind: int) -> Moments:
        drawn = random_moments(count * products, dimension, [seed, kind])
        names = np.array([f"RND{number}" for number in range(products)])
        return replace(drawn, products=np.tile(names, count))

    return History(past=moments(days, 6), later=moments(later_days, 7))


@cache
def market_history(dimension: int = WINDOW) -> History:
    """Return the demo's market, which takes some seconds.

    A window has 256 numbers. A longer vector is that of its day followed by those of the same
    product 21, 42, ... trading days before. Raises ImportError without the demo's packages, and
    ValueError for a `dimension` that is no multiple of 256.
    """
    if dimension % WINDOW:
        raise ValueError("market windows have 256 numbers: measure others with random ones")
    # Here, not above: it needs the demo's data package and takes seconds to import.
    from demo.market import market_windows  # noqa: PLC0415
    from demo.prices import load_market  # noqa: PLC0415

    windows = market_windows(load_market())
    first = np.unique(windows.timestamps)[-QUESTION_DAYS]
    moments = _with_earlier_windows(_moments(windows), dimension // WINDOW)
    return History(
        past=moments.select(np.flatnonzero(moments.timestamps < first)),
        later=moments.select(np.flatnonzero(moments.timestamps >= first)),
    )


def _with_earlier_windows(moments: Moments, count: int) -> Moments:
    """Join each vector with the `count` - 1 before it; a product's first days are left out."""
    kept, vectors = [], []
    for product in np.unique(moments.products):
        rows = np.flatnonzero(moments.products == product)
        later = rows[(count - 1) * _STEP_DAYS :]
        earlier = [rows[(count - 1 - back) * _STEP_DAYS :][: len(later)] for back in range(count)]
        kept.append(later)
        vectors.append(np.concatenate([moments.vectors[r] for r in earlier], axis=1))
    order = np.argsort(np.concatenate(kept))
    selected = moments.select(np.concatenate(kept)[order])
    return replace(selected, vectors=np.concatenate(vectors)[order])


def _moments(windows: "Windows") -> Moments:
    return Moments(
        vectors=windows.vectors,
        products=np.array(windows.products)[windows.product_index],
        regimes=windows.regimes,
        actions=windows.actions,
        rewards=np.round(windows.rewards, 6),
        timestamps=windows.timestamps,
    )
