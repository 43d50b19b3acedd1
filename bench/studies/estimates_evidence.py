"""What estimates gain by shrinkage, how overlapping outcomes inflate a mean's variance, and what
other agents' memories add.

python -m bench.studies.estimates_evidence

The service's own arithmetic on neighbours that numpy finds, as in estimates_trust. Writes
docs/benchmarks/estimates-evidence.md. Takes some minutes.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.memory.estimates.action_values import Neighbour
from app.memory.estimates.evidence import first_distinct
from app.memory.estimates.shrinkage import best_m, drawn_in, part_of_baseline
from bench.machine import describe_machine, load_line, now_line
from bench.paths import BENCHMARKS
from bench.studies.estimates_trust import (
    BACKCASTS,
    DRAWS,
    KERNEL,
    STOCKS,
    TOP_K,
    Stock,
    Table,
    all_answers,
    estimate_of,
    figures_of,
    neighbours_of,
    table_of,
)
from demo.market import Market, market_windows
from demo.prices import load_market
from tests.memory.estimates.planted import HORIZON, cosine_distances, product

Floats = NDArray[np.float64]

DAYS = 3000
FIRST_QUESTION = 1500
REPORT = BENCHMARKS / "estimates-evidence.md"


def main() -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.estimates_evidence")
    parser.add_argument("--seeds", type=int, default=10, help="of each planted market (10)")
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args()
    before = load_line()
    lines = [
        "# What the evidence of an estimate is worth",
        "",
        f"`make bench-evidence`. {now_line()}. {describe_machine().sentence}. Load average before "
        f"{before}.",
        "",
        *_shrinkage_lines(options.seeds),
        "",
        *_design_lines(options.seeds),
        "",
        *_scope_lines(),
        "",
    ]
    print("\n".join(lines))
    options.report.write_text("\n".join(lines))


def _shrinkage_lines(seeds: int) -> Iterator[str]:
    yield "## Shrinkage"
    yield ""
    yield (
        f"Planted markets of {DAYS} days (AR(.9), 256 numbers), {seeds} seeds; every {HORIZON}th "
        f"day from {FIRST_QUESTION} on is a question for the {TOP_K} nearest, m is chosen on the "
        f"{BACKCASTS} backcasts before it. Squared error against the true mean, as a share of the "
        "baseline's: below 1, the estimate knows more than all moments alike. `shrinkage` near 1: "
        "similar moments say no more than all moments."
    )
    yield ""
    yield "| signal | error of `value` | error of `shrunk_value` | mean `shrinkage` |"
    yield "| --- | --- | --- | --- |"
    for snr in (0.0, 0.4, 0.8):
        found = np.mean([_shrunk(seed, snr) for seed in range(seeds)], axis=0)
        yield f"| {snr} | {found[0]:.2f} | {found[1]:.2f} | {found[2]:.2f} |"


def _shrunk(seed: int, snr: float) -> tuple[float, float, float]:
    market = product(seed, days=DAYS, rho=0.9, snr=snr)
    table = table_of(market.states, market.reward, is_distinct=True)
    rows = np.flatnonzero(~np.isnan(table.low) & ~np.isnan(table.stdev))
    errors = []
    for row in rows[rows >= FIRST_QUESTION]:
        past = rows[rows <= row - HORIZON][-BACKCASTS:]
        n = table.n[past]
        m = best_m(table.value[past], table.base[past], n, market.reward[past])
        own, base, truth = table.value[row], table.base[row], market.true_mean[row]
        shrunk = drawn_in(own, base, table.n[row], m)
        part = part_of_baseline(table.n[row], m)
        errors.append(((own - truth) ** 2, (shrunk - truth) ** 2, (base - truth) ** 2, part))
    raw, shrunk, base, part = np.mean(errors, axis=0)
    return float(raw / base), float(shrunk / base), float(part)


def _design_lines(seeds: int) -> Iterator[str]:
    yield "## Overlapping outcomes"
    yield ""
    yield (
        "The same markets without a signal. Variance of the neighbours' weighted mean around their "
        "true mean, as a multiple of what `effective_n` independent rewards would give (the design "
        "effect), and what the service says of it (`effective_n` over `independent_n`)."
    )
    yield ""
    yield "| states | `distinct` | measured | said |"
    yield "| --- | --- | --- | --- |"
    for rho in (0.9, 0.99):
        for is_distinct, name in ((False, "none"), (True, "outcome")):
            found = np.mean([_design(seed, rho, is_distinct) for seed in range(seeds)], axis=0)
            yield f"| AR({rho}) | {name} | {found[0]:.2f} | {found[1]:.2f} |"


def _design(seed: int, rho: float, is_distinct: bool) -> tuple[float, float]:
    market = product(seed, days=DAYS, rho=rho, snr=0.0)
    rng = np.random.default_rng(1000 + seed)
    found_effects = []
    for day in rng.integers(FIRST_QUESTION, DAYS, 100):
        found, rows = neighbours_of(market.states, int(day), market.reward, is_distinct=is_distinct)
        value = estimate_of(found)
        weights = KERNEL.weights([neighbour.distance for neighbour in found])
        error = value.value - np.average(market.true_mean[rows], weights=weights)
        # Rewards have a variance of 1.
        found_effects.append(
            (error**2 * value.effective_n, value.effective_n / value.independent_n)
        )
    measured, said = np.mean(found_effects, axis=0)
    return float(measured), float(said)


@dataclass(frozen=True, slots=True, eq=False)
class _Pool:
    """All stocks' moments: states, day numbers, rewards and whose they are, (n,)."""

    states: NDArray[np.float32]
    days: NDArray[np.int64]
    reward: Floats
    product: NDArray[np.int64]


def _scope_lines() -> Iterator[str]:
    yield "## The memories of others"
    yield ""
    yield (
        f"{len(STOCKS)} of the demo's stocks, each with an agent of its own. `own`: asked of its "
        f"own past; `all`: of all of theirs. {DRAWS} draws of 300 questions a stock; columns as in "
        "[estimates-trust.md](estimates-trust.md)."
    )
    yield ""
    yield (
        "| draw | scope | coverage of 90 % | by tercile | interval score | ECE of loss | Brier "
        "skill | skill of value |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    own, everybody = _stocks()
    for draw in range(1, DRAWS + 1):
        yield f"| {draw} | own | {figures_of(all_answers(own, 'now', draw))} |"
        yield f"| {draw} | all | {figures_of(all_answers(everybody, 'now', draw))} |"


def _stocks() -> tuple[list[Stock], list[Stock]]:
    market = load_market()
    names = tuple(market.products[number] for number in STOCKS)
    some = Market(names, market.dates, market.prices[:, list(STOCKS)])
    windows = market_windows(some, horizon_days=HORIZON)
    pool = _Pool(
        windows.vectors,
        np.searchsorted(some.dates, windows.dates),
        np.log1p(windows.forward_returns),
        np.asarray(windows.product_index, np.int64),
    )
    own, everybody = [], []
    for number in range(len(names)):
        mine = pool.product == number
        states, reward, days = pool.states[mine], pool.reward[mine], pool.days[mine]
        changes = np.diff(np.log(some.prices[:, number]), prepend=np.log(some.prices[0, number]))
        scale = np.array([max(1e-4, changes[day - 20 : day + 1].std()) for day in days])
        alone = table_of(states, reward, is_distinct=True)
        pooled = _pooled_table(pool, np.flatnonzero(mine))
        own.append(Stock(states, reward, scale, alone, alone, alone))
        everybody.append(Stock(states, reward, scale, pooled, pooled, pooled))
    return own, everybody


def _pooled_table(pool: _Pool, mine: Sequence[int] | NDArray[np.int64]) -> Table:
    """Return what `table_of` gives, for one product's rows with neighbours of all products."""
    columns = np.full((9, len(mine)), np.nan)
    for row in range(100, len(mine), HORIZON):
        at = int(mine[row])
        known = np.flatnonzero(pool.days + HORIZON <= pool.days[at])
        distances = cosine_distances(pool.states[known], pool.states[at])
        nearest = np.argsort(distances)[: 8 * TOP_K]
        chosen = known[nearest]
        spans = [(float(pool.days[i]), float(pool.days[i] + HORIZON)) for i in chosen]
        kept = first_distinct(pool.product[chosen].tolist(), spans, TOP_K).kept
        found = [
            Neighbour(
                "a",
                float(pool.reward[chosen[i]]),
                float(distances[nearest[i]]),
                int(pool.product[chosen[i]]),
                spans[i],
            )
            for i in kept
        ]
        value, rewards = estimate_of(found), pool.reward[known]
        columns[:, row] = (
            *(value.q05, value.q95, value.value, value.stdev or np.nan, value.independent_n),
            *(value.loss_probability, rewards.mean(), (rewards < 0).mean()),
            value.nearest_distance,
        )
    return Table(*columns)


if __name__ == "__main__":
    main()
