"""The tables and plots of the guide's example."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.plots import Line, line_plot
from bench.report import Figure, Report, Section, Table
from demo.guide import rivals, worth
from demo.guide.trader import Expectation, buys
from demo.guide.walk import Walk

SEED = 1
COINS = 1000
MONTHS_A_YEAR = 252 / 21
PARTS = 5

MEMORY, OWN_STOCK = "memory of all stocks", "memory of the stock"
ALL, REGIME = "mean of all", "mean of the regime"
STOCK, STOCK_REGIME = "mean of the stock", "mean of the stock in the regime"
HOLD = "always hold"

Expected = Sequence[Sequence[Expectation]]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PatternWorth:
    """A pattern's mean reward where it was found, and of the later moments nearest to it."""

    regime: str
    n: int
    mean: float
    later_n: int
    later_mean: float


def expectations(walked: Walk) -> dict[str, Expected]:
    """Return what each way of expecting foresaw."""
    return {
        MEMORY: walked.memory,
        OWN_STOCK: walked.own_stock,
        ALL: rivals.means(walked, of_regime=False, of_stock=False),
        REGIME: rivals.means(walked, of_regime=True, of_stock=False),
        STOCK: rivals.means(walked, of_regime=False, of_stock=True),
        STOCK_REGIME: rivals.means(walked, of_regime=True, of_stock=True),
    }


def decisions(walked: Walk) -> dict[str, NDArray[np.bool_]]:
    """Return what each way of deciding bought."""
    found = {
        name: np.array([[buys(one) for one in day] for day in expected])
        for name, expected in expectations(walked).items()
    }
    return {HOLD: np.ones(walked.rewards.shape, dtype=np.bool_), **found}


def report(walked: Walk, said: str, patterns: Sequence[PatternWorth]) -> Report:
    """Return tables and plots."""
    lead = (
        f"Written by `make guide`. {len(walked.dates)} decision days, {walked.dates[0]} to "
        f"{walked.dates[-1]}, {len(walked.products)} stocks, {walked.rewards.size:,} decisions; "
        f"{walked.past_rewards.size:,} moments studied before. Seed {SEED}. In brackets 95 % of "
        "bootstrap draws of 12-month blocks."
    )
    earned, reward, size = _plots(walked)
    return Report(
        "What memory added",
        lead,
        (
            Section("Deciding", (_deciding(walked), _luck(walked), earned)),
            Section("Foreseeing", (_foreseeing(walked), reward, size)),
            Section(
                "Patterns",
                (f"```\n{said}\n```", _patterns_sentence(patterns), _pattern_table(patterns)),
            ),
        ),
    )


def _deciding(walked: Walk) -> Table:
    rows = []
    for name, bought in decisions(walked).items():
        net = worth.net_rewards(bought, walked.rewards)
        mean = worth.mean_interval(net, seed=SEED)
        changes = np.count_nonzero(np.diff(bought, axis=0)) / bought[1:].size * MONTHS_A_YEAR
        rows.append(
            (
                name,
                f"{bought.mean():.0%}",
                f"{changes:.1f}",
                _with_bounds(mean),
                f"{_sharpe_ratio(net):.2f}",
            )
        )
    columns = ("way of deciding", "bought", "trades a stock and year")
    return Table((*columns, "net a month (%)", "Sharpe ratio a year"), tuple(rows))


def _luck(walked: Walk) -> str:
    """Compare the agent with those who buy as often by chance."""
    share = float(walked.bought.mean())
    own = worth.net_rewards(walked.bought, walked.rewards).mean()
    chance = np.array(
        [
            worth.net_rewards(bought, walked.rewards).mean()
            for bought in rivals.coins(walked, share=share, count=COINS, seed=SEED)
        ]
    )
    low, high = np.percentile(chance, [2.5, 97.5])
    return (
        f"Random: of {COINS:,} who bought as often as the agent ({share:.0%}) by a coin, the mean "
        f"earned {100 * chance.mean():.2f} % a month, 95 % of them {100 * low:.2f} to "
        f"{100 * high:.2f} %; {np.mean(chance >= own):.0%} did at least as well as the agent "
        f"({100 * own:.2f} %)."
    )


def _foreseeing(walked: Walk) -> Table:
    found = expectations(walked)
    plain = worth.values(found[ALL])
    rows = []
    for name, expected in found.items():
        avoided = worth.explained(worth.values(expected), plain, walked.rewards, seed=SEED)
        size = worth.foreseen_size(worth.stdevs(expected), plain, walked.rewards)
        rows.append((name, "0" if name == ALL else _with_bounds(avoided), f"{size:.2f}"))
    columns = ("way of expecting", "squared error avoided against the mean of all (%)")
    return Table((*columns, "correlation of expected deviation and size of the move"), tuple(rows))


def _plots(walked: Walk) -> tuple[Figure, Figure, Figure]:
    """Plot what was earned, and the rewards and sizes of moves that were foreseen."""
    bought, found = decisions(walked), expectations(walked)
    plain = worth.values(found[ALL])
    years = walked.dates.astype("datetime64[D]").astype(np.float64) / 365.25 + 1970
    shown = np.arange(0, len(years), 6)
    sums = [
        (name, 100 * np.cumsum(worth.net_rewards(bought[name], walked.rewards)))
        for name in (HOLD, REGIME, MEMORY, OWN_STOCK)
    ]
    chance = rivals.coins(walked, share=float(walked.bought.mean()), count=100, seed=SEED)
    mean = np.mean([worth.net_rewards(coin, walked.rewards) for coin in chance], axis=0)
    sums.append(("random, as often as memory of all stocks", 100 * np.cumsum(mean)))
    values = [
        Line(name, *_by_part(worth.values(found[name]), walked.rewards))
        for name in (MEMORY, OWN_STOCK, STOCK)
    ]
    ends = [min(min(line.x) for line in values), max(max(line.x) for line in values)]
    values.append(Line("as foreseen", ends, ends, is_dashed=True))
    sizes = [
        Line(name, *_by_part(worth.stdevs(found[name]), np.abs(walked.rewards - plain)))
        for name in (MEMORY, OWN_STOCK, REGIME, STOCK, STOCK_REGIME)
    ]
    return (
        Figure(
            "earned.png",
            line_plot(
                "What each way of deciding earned, after costs",
                [Line(name, years[shown].tolist(), total[shown].tolist()) for name, total in sums],
                x="year",
                y="sum of monthly net rewards (%)",
            ),
            "Sum of net rewards over the years, by way of deciding",
        ),
        Figure(
            "foreseen-reward.png",
            line_plot(
                "Expected and real reward of a buy, by fifths of the expectation",
                values,
                x="expected (% a month)",
                y="what came (% a month)",
            ),
            "Expected and real reward, by fifths of the expectation",
        ),
        Figure(
            "foreseen-size.png",
            line_plot(
                "Expected deviation and real size of the move, by fifths of the expectation",
                sizes,
                x="expected deviation (% a month)",
                y="mean distance from the mean of all (%)",
            ),
            "Expected deviation and real size of the move, by fifths of the expectation",
        ),
    )


def _by_part(expected: Floats, came: Floats) -> tuple[list[float], list[float]]:
    """Return means of both in percent, in fifths by what was expected."""
    order = np.argsort(expected.ravel(), kind="stable")
    parts = np.array_split(order, PARTS)
    return (
        [100 * float(expected.ravel()[rows].mean()) for rows in parts],
        [100 * float(came.ravel()[rows].mean()) for rows in parts],
    )


def _patterns_sentence(patterns: Sequence[PatternWorth]) -> str:
    means = np.array([pattern.mean for pattern in patterns])
    later = np.array([pattern.later_mean for pattern in patterns])
    alike = np.corrcoef(means, later)[0, 1]
    above = means > np.median(means)
    return (
        f"{len(patterns)} patterns were the nearest to a later moment. The correlation of their "
        f"mean rewards before and after is {alike:.2f}; the better half before earned "
        f"{100 * later[above].mean():.2f} % a month after, the other half "
        f"{100 * later[~above].mean():.2f} %. The three best and worst before:"
    )


def _pattern_table(patterns: Sequence[PatternWorth]) -> Table:
    ordered = sorted(patterns, key=lambda pattern: -pattern.mean)
    rows = tuple(
        (p.regime, f"{p.n}", f"{100 * p.mean:.2f}", f"{p.later_n}", f"{100 * p.later_mean:.2f}")
        for p in [*ordered[:3], *ordered[-3:]]
    )
    return Table(("regime", "n before", "mean before (%)", "n after", "mean after (%)"), rows)


def _with_bounds(found: worth.Interval) -> str:
    return f"{100 * found.value:.2f} ({100 * found.low:.2f} to {100 * found.high:.2f})"


def _sharpe_ratio(net: Floats) -> float:
    """Return mean over deviation of the monthly rewards, for a year, without interest.

    0 for who never bought.
    """
    deviation = net.std(ddof=1)
    return float(net.mean() / deviation * np.sqrt(MONTHS_A_YEAR)) if deviation else 0.0
