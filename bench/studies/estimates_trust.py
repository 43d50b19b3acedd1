"""How far estimates can be trusted: on planted markets, and on the demo's stocks.

python -m bench.studies.estimates_trust

The service's own arithmetic (app/memory/estimates) on neighbours that numpy finds. "Before" is what
an estimate said when overlapping memories counted in full and its quantiles were told as they are.
Writes docs/benchmarks/estimates-trust.md and a picture beside it. Takes some ten minutes.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.memory.estimates.action_values import ActionValue, Neighbour, action_value
from app.memory.estimates.calibration import expected_calibration_error, reliability, skill
from app.memory.estimates.evidence import first_distinct
from app.memory.estimates.interval import correction
from app.memory.estimates.kernel import Kernel
from app.memory.estimates.novelty import REFERENCES, p_value
from app.memory.estimates.shrinkage import best_m, drawn_in
from app.memory.novelty import FEWEST_TO_DRAW_FROM, LATEST_PART
from bench.machine import describe_machine, load_line, now_line
from bench.paths import BENCHMARKS
from demo.market import Market, market_windows
from demo.prices import load_market
from tests.memory.estimates.planted import HORIZON, cosine_distances, product

Floats = NDArray[np.float64]

KERNEL = Kernel("inverse", delta=1e-3, bandwidth=1.0)
TOP_K = 50
SEEDS = 20
QUESTIONS = 100
DRAWS = 3
STOCKS = (0, 4, 8, 12, 16)
BACKCASTS = 600
INTERVAL_BACKCASTS = 200
NORMAL_90 = 1.6449
REPORT = BENCHMARKS / "estimates-trust.md"
PICTURE = BENCHMARKS / "plots" / "estimates-trust.png"


def main() -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.estimates_trust")
    parser.add_argument("--report", type=Path, default=REPORT)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    options = parser.parse_args()
    before = load_line()
    lines = [
        "# How far estimates can be trusted",
        "",
        "`make bench-estimates`. " + f"{now_line()}. {describe_machine().sentence}. Load average "
        f"before {before}.",
        "",
        *_planted_lines(),
        "",
        *_equal_actions_lines(),
        "",
    ]
    stocks = list(_stocks())
    lines += [*_stock_lines(stocks), "", *_novelty_lines(stocks), ""]
    _draw(stocks, options.picture)
    lines += [f"![Calibration before and after](plots/{options.picture.name})", ""]
    print("\n".join(lines))
    options.report.write_text("\n".join(lines))


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The estimate of each row as of its own time, NaN if too little was known.

    low, high, value, stdev, n, loss: of the neighbours. base, base_loss: of all that was known.
    nearest: the smallest distance.
    """

    low: Floats
    high: Floats
    value: Floats
    stdev: Floats
    n: Floats
    loss: Floats
    base: Floats
    base_loss: Floats
    nearest: Floats


def neighbours_of(
    states: NDArray[np.float32], row: int, rewards: Floats, *, is_distinct: bool
) -> tuple[list[Neighbour], NDArray[np.intp]]:
    """Return the neighbours of a row among what was known at its time."""
    known = row - HORIZON + 1
    distances = cosine_distances(states[:known], states[row])
    count = min(known, 8 * TOP_K)
    nearest = np.argpartition(distances, count - 1)[:count]
    nearest = nearest[np.argsort(distances[nearest])]
    if is_distinct:
        spans = [(float(i), float(i + HORIZON)) for i in nearest]
        rows = nearest[first_distinct([0] * count, spans, TOP_K).kept]
    else:
        rows = nearest[:TOP_K]
    found = [
        Neighbour("a", float(rewards[i]), float(distances[i]), 0, (float(i), float(i + HORIZON)))
        for i in rows
    ]
    return found, rows


def estimate_of(found: Sequence[Neighbour]) -> ActionValue:
    return action_value("a", found, KERNEL, 0.0)


def _planted_lines() -> Iterator[str]:
    yield "## Planted markets"
    yield ""
    yield (
        f"States are autoregressions of 256 numbers, a reward is earned over {HORIZON} days. "
        f"{SEEDS} seeds, {QUESTIONS} questions each, the {TOP_K} nearest. Coverage: how often the "
        "90 % interval of the mean holds the neighbours' true mean. Trades: how often the value is "
        "more than one standard error from 0; where there is no signal, 32 % is right."
    )
    yield ""
    yield "| market | coverage before | coverage now | trades before | trades now |"
    yield "| --- | --- | --- | --- | --- |"
    for rho in (0.9, 0.99):
        for snr in (0.0, 0.4):
            figures = np.mean([_planted(seed, rho, snr) for seed in range(SEEDS)], axis=0)
            told = " | ".join(f"{figure:.3f}" for figure in figures)
            yield f"| AR({rho}), signal {snr} | {told} |"


def _planted(seed: int, rho: float, snr: float) -> tuple[float, float, float, float]:
    market = product(seed, days=3000, rho=rho, snr=snr)
    rng = np.random.default_rng(1000 + seed)
    figures = []
    for day in rng.integers(1500, 3000, QUESTIONS):
        row: list[float] = []
        for is_distinct in (False, True):
            found, rows = neighbours_of(
                market.states, int(day), market.reward, is_distinct=is_distinct
            )
            value = estimate_of(found)
            truth = float(
                np.average(
                    market.true_mean[rows], weights=KERNEL.weights([n.distance for n in found])
                )
            )
            assert value.stdev is not None
            assert value.value_low is not None
            assert value.value_high is not None
            if is_distinct:
                assert value.standard_error is not None
                error = value.standard_error
                held = value.value_low <= truth <= value.value_high
            else:
                error = value.stdev / np.sqrt(value.effective_n)
                held = abs(value.value - truth) <= NORMAL_90 * error
            row += [float(held), float(abs(value.value) > error)]
        figures.append((row[0], row[2], row[1], row[3]))
    before, now, traded_before, traded = np.mean(figures, axis=0)
    return float(before), float(now), float(traded_before), float(traded)


def _equal_actions_lines() -> Iterator[str]:
    """Report on six actions that are all worth nothing."""
    counts, draws = (300, 150, 80, 40, 20, 10), 2000
    rng = np.random.default_rng(6)
    first = {"value": 0, "value_low": 0}
    for _ in range(draws):
        drawn = rng.multivariate_hypergeometric(counts, TOP_K)
        values = []
        for count in drawn[drawn > 0]:
            found = [
                Neighbour("a", float(r), 0.5, 0, (10.0 * i, 10.0 * i + 5))
                for i, r in enumerate(rng.normal(0, 0.02, count))
            ]
            values.append(estimate_of(found))
        best = max(values, key=lambda v: v.value)
        first["value"] += best.count <= 2
        surest = max(values, key=lambda v: -np.inf if v.value_low is None else v.value_low)
        first["value_low"] += surest.count <= 2
    yield "## Six actions of the same worth"
    yield ""
    yield (
        f"With {', '.join(map(str, counts))} memories, {draws} questions for {TOP_K} of them: the "
        f"first-listed action has at most two memories in {100 * first['value'] / draws:.1f} % "
        f"by `value` (before) and in {100 * first['value_low'] / draws:.1f} % by `value_low` (now)."
    )


@dataclass(frozen=True, slots=True, eq=False)
class Stock:
    """One stock: its states, rewards over HORIZON days and volatility, and its estimates."""

    states: NDArray[np.float32]
    reward: Floats
    scale: Floats
    before: Table
    now: Table
    scaled: Table


def _stocks() -> Iterator[Stock]:
    market = load_market()
    names = tuple(market.products[number] for number in STOCKS)
    some = Market(names, market.dates, market.prices[:, list(STOCKS)])
    windows = market_windows(some, horizon_days=HORIZON)
    for number in range(len(names)):
        own = windows.select(windows.product_index == number)
        days = np.searchsorted(some.dates, own.dates)
        changes = np.diff(np.log(some.prices[:, number]), prepend=np.log(some.prices[0, number]))
        scale = np.array([max(1e-4, changes[day - 20 : day + 1].std()) for day in days])
        states, reward = own.vectors, np.log1p(own.forward_returns)
        yield Stock(
            states,
            reward,
            scale,
            before=table_of(states, reward, is_distinct=False),
            now=table_of(states, reward, is_distinct=True),
            scaled=table_of(states, reward / scale, is_distinct=True),
        )


def table_of(states: NDArray[np.float32], reward: Floats, *, is_distinct: bool) -> Table:
    """Return the table of every fifth row: backcasts and questions use no others."""
    columns = np.full((9, len(states)), np.nan)
    totals, losses = np.cumsum(reward), np.cumsum(reward < 0)
    for row in range(100, len(states), HORIZON):
        found, _ = neighbours_of(states, row, reward, is_distinct=is_distinct)
        value, known = estimate_of(found), row - HORIZON + 1
        columns[:, row] = (
            *(value.q05, value.q95, value.value, value.stdev or np.nan, value.independent_n),
            *(value.loss_probability, totals[known - 1] / known, losses[known - 1] / known),
            value.nearest_distance,
        )
    return Table(*columns)


def _questions(stock: Stock, seed: int) -> NDArray[np.int64]:
    rows = np.flatnonzero(~np.isnan(stock.now.low))
    rng = np.random.default_rng(seed)
    return rng.choice(rows[300:], 300, replace=False)


@dataclass(slots=True)
class Answers:
    """Answers to questions, as columns, and what came."""

    rows: Sequence[tuple[float, ...]]

    def columns(self) -> Floats:
        """Return low, high, reward, value, base, loss, base loss, volatility: (8, n)."""
        return np.array(self.rows).T


def _answers(stock: Stock, table: Table, seed: int, unit: Floats, *, is_corrected: bool) -> Answers:
    rows = []
    known_rows = np.flatnonzero(~np.isnan(table.low) & ~np.isnan(table.stdev))
    told = stock.reward / unit
    for row in _questions(stock, seed):
        low, high = table.low[row], table.high[row]
        value, loss = table.value[row], table.loss[row]
        if is_corrected:
            past = known_rows[known_rows <= row - HORIZON][-BACKCASTS:]
            last = past[-INTERVAL_BACKCASTS:]
            is_scaled = unit is not _ONE
            spread = np.ones(len(last)) if is_scaled else table.stdev[last]
            moved = correction(table.low[last], table.high[last], spread, told[last])
            own = 1.0 if is_scaled else table.stdev[row]
            if moved is not None:
                low, high = low - moved.low * own, high + moved.high * own
            n, came = table.n[past], told[past]
            m = best_m(table.value[past], table.base[past], n, came)
            m_loss = best_m(
                table.loss[past], table.base_loss[past], n, (came < 0).astype(np.float64)
            )
            value = drawn_in(value, table.base[row], table.n[row], m)
            loss = drawn_in(loss, table.base_loss[row], table.n[row], m_loss)
        u = float(np.broadcast_to(unit, stock.reward.shape)[row])
        rows.append(
            (
                *(low * u, high * u, stock.reward[row], value * u, table.base[row] * u),
                *(loss, table.base_loss[row], stock.scale[row]),
            )
        )
    return Answers(rows)


_ONE = np.ones(1)


def all_answers(stocks: Sequence[Stock], kind: str, seed: int) -> Floats:
    parts = []
    for number, stock in enumerate(stocks):
        table = {"before": stock.before, "now": stock.now, "scaled": stock.scaled}[kind]
        unit = stock.scale if kind == "scaled" else _ONE
        is_corrected = kind != "before"
        parts.append(
            _answers(stock, table, 100 * seed + number, unit, is_corrected=is_corrected).columns()
        )
    return np.concatenate(parts, axis=1)


def _stock_lines(stocks: Sequence[Stock]) -> Iterator[str]:
    yield "## The demo's stocks"
    yield ""
    yield (
        f"{len(stocks)} of the demo's stocks, each asked of its own past; reward: the log return "
        f"of {HORIZON} days. {DRAWS} draws of 300 questions a stock. Terciles: of volatility, "
        "low to high. Interval score: width and misses, less is better (Gneiting, Raftery 2007). "
        "Skill: against all moments alike."
    )
    yield ""
    yield (
        "| draw | answers | coverage of 90 % | by tercile | interval score | ECE of loss | Brier "
        "skill | skill of value |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    names = {"before": "before", "now": "now", "scaled": "now, with `scale`"}
    for draw in range(1, DRAWS + 1):
        for kind, name in names.items():
            yield f"| {draw} | {name} | {figures_of(all_answers(stocks, kind, draw))} |"


def figures_of(columns: Floats) -> str:
    low, high, reward, value, base, loss, base_loss, volatility = columns
    held = (low <= reward) & (reward <= high)
    tercile = np.digitize(volatility, np.quantile(volatility, [1 / 3, 2 / 3]))
    score = high - low + 20 * np.maximum(low - reward, 0) + 20 * np.maximum(reward - high, 0)
    came = (reward < 0).astype(np.float64)
    by_tercile = " / ".join(f"{held[tercile == k].mean():.2f}" for k in range(3))
    return " | ".join(
        (
            f"{held.mean():.3f}",
            by_tercile,
            f"{score.mean():.4f}",
            f"{expected_calibration_error(loss, came):.3f}",
            f"{skill(loss, base_loss, came):+.4f}",
            f"{skill(value, base, reward):+.4f}",
        )
    )


def _novelty_lines(stocks: Sequence[Stock]) -> Iterator[str]:
    yield "## Novelty"
    yield ""
    yield (
        "Distance of the novelty of ordinary states from uniform (Kolmogorov, Smirnov). Before: "
        "references were compared with all that the memory held, the next day included."
    )
    yield ""
    yield "| states | before | now |"
    yield "| --- | --- | --- |"
    for rho in (0.9, 0.99):
        markets = [product(seed, days=2000, rho=rho, snr=0.0).states for seed in range(4)]
        yield f"| AR({rho}) | {_distances(markets)} |"
    yield f"| the demo's stocks | {_distances([stock.states for stock in stocks])} |"


def _distances(all_states: Sequence[NDArray[np.float32]]) -> str:
    found: dict[bool, list[float]] = {False: [], True: []}
    for number, states in enumerate(all_states):
        rng = np.random.default_rng(number)
        for row in rng.integers(len(states) // 2, len(states), 100):
            known = int(row) - HORIZON + 1
            nearest = float(cosine_distances(states[:known], states[row]).min())
            latest = max(FEWEST_TO_DRAW_FROM, known // LATEST_PART)
            drawn = rng.choice(np.arange(known - latest, known), REFERENCES, replace=False)
            saw = [
                float(cosine_distances(states[: j - HORIZON + 1], states[j]).min()) for j in drawn
            ]
            everything = []
            for j in drawn:
                distances = cosine_distances(states[:known], states[j])
                distances[j] = np.inf
                everything.append(float(distances.min()))
            found[True].append(p_value(sorted(saw), nearest))
            found[False].append(float(np.mean(np.array(everything) < nearest)))
    return " | ".join(f"{_from_uniform(np.array(found[kind])):.2f}" for kind in (False, True))


def _from_uniform(values: Floats) -> float:
    ordered = np.sort(values)
    place = np.arange(1, len(ordered) + 1) / len(ordered)
    below = place - 1 / len(ordered)
    return float(np.maximum(np.abs(place - ordered), np.abs(ordered - below)).max())


def _draw(stocks: Sequence[Stock], path: Path) -> None:
    import matplotlib  # noqa: PLC0415 - only for the picture

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
    left.plot([0.2, 0.8], [0.2, 0.8], color="grey", linewidth=1)
    for kind, colour in (("before", "tab:red"), ("now", "tab:blue")):
        columns = np.concatenate(
            [all_answers(stocks, kind, draw) for draw in range(1, DRAWS + 1)], axis=1
        )
        low, high, reward, _, _, loss, _, volatility = columns
        bins = reliability(loss, (reward < 0).astype(np.float64))
        said, came = [b.predicted for b in bins], [b.observed for b in bins]
        left.plot(said, came, "o-", color=colour, label=kind)
        held = (low <= reward) & (reward <= high)
        tenth = np.digitize(volatility, np.quantile(volatility, np.linspace(0.1, 0.9, 9)))
        right.plot(
            range(1, 11),
            [held[tenth == k].mean() for k in range(10)],
            "o-",
            color=colour,
            label=kind,
        )
    left.set_xlabel("stated chance of a loss")
    left.set_ylabel("share that lost")
    right.axhline(0.9, color="grey", linewidth=1)
    right.set_xlabel("volatility, from the calmest tenth to the wildest")
    right.set_ylabel("share within the 90 % interval")
    right.set_ylim(0.7, 1.0)
    for axis in (left, right):
        axis.legend()
    figure.suptitle("Estimates on the demo's stocks: what was said, and what came")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
