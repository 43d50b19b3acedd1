"""What an estimate costs beside the search underneath, and how fast samples are drawn.

python -m bench.studies.estimate_cost

One service, one agent with 2,000 memories of 256 numbers, one connection that asks in turns, so
that both kinds meet the same machine; every question is another one, so that nothing is cached. In
a walk forward each question is as of a later day than the one before, for the first time.
Prints the tables and writes them to docs/benchmarks/estimate.md.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import orjson
import redis

from app.memory.estimates.action_values import Neighbour, estimate_actions
from app.memory.estimates.kernel import Kernel
from bench.load import closed_loop
from bench.machine import describe_machine, load_line, now_line
from bench.paths import BENCHMARKS
from bench.service import RunningService, running_service
from bench.studies._batches import (
    BATCH,
    SEED,
    answer_to,
    as_base64,
    batch_request,
    connect,
    memory,
    random_vectors,
)
from bench.studies._batches import store_batch as store

AGENT = "agent_0"
MEMORIES = 2000
TOP_K = (10, 50, 200)
SAMPLES = (32, 256, 4096)
QUESTIONS = 2000
REPEATS = 300
WALKED = 500
PRODUCTS = (1, 20)
FIRST_DAY = 1_500_000_000.0
DAY_S = 86_400.0
LOOKS_BACK_S = 2.0
"""After the first question the service looks back in the background."""
REPORT = BENCHMARKS / "estimate.md"
ALLOWED_RATIO = 1.5


def main() -> int:
    """Measure, print and write the report; 1 when an estimate costs more than it may."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.estimate_cost")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement (4)")
    parser.add_argument("--report", type=Path, default=REPORT, help="where the report goes")
    options = parser.parse_args()
    before = load_line()
    with running_service({"MEMORY_CACHE_ENABLED": "false"}) as service:
        with connect(service.port) as connection:
            for start in range(0, MEMORIES, 1000):
                store(connection, batch_request(AGENT, seed=SEED + start, ids=f"m{start}"))
        latencies = [_latencies(service.port, top_k, options.seconds) for top_k in TOP_K]
        walks = {
            products: [_walk(service.port, top_k, products) for top_k in TOP_K]
            for products in PRODUCTS
        }
        engine = [_engine_ms(service, top_k) for top_k in TOP_K]
        draws = [_draws(service.port, size, options.seconds) for size in SAMPLES]
    summing = [_summing_us(top_k) for top_k in TOP_K]
    lines = [
        "# What an estimate costs",
        "",
        "`make bench-estimate`. One agent, 2,000 memories of 256 numbers, one connection, no "
        "cache.",
        f"{now_line()}. {describe_machine().sentence}. Load average before {before}, after "
        f"{load_line()}.",
        "",
        "| top_k | search p50 (ms) | estimate p50 (ms) | ratio (at most 1.5) |",
        "| --- | --- | --- | --- |",
        *(
            f"| {k} | {search:.3f} | {estimate:.3f} | {estimate / search:.2f} |"
            for k, (search, estimate) in zip(TOP_K, latencies, strict=True)
        ),
        "",
        f"A walk forward: {WALKED:,} days one after the other, of 2,000 with a memory each and its "
        "outcome five days later, of one product (outcomes overlap) or of 20 in turns (none do). "
        "The first question, which looks back on all the past, is left out; `all` is the ratio of "
        "the sums of all others.",
        "",
        "| products | top_k | search p50 (ms) | estimate p50 (ms) | ratio (at most 1.5) | all |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {products} | {k} | {search:.3f} | {estimate:.3f} | {estimate / search:.2f} "
            f"| {of_all:.2f} |"
            for products, walked in walks.items()
            for k, (search, estimate, of_all) in zip(TOP_K, walked, strict=True)
        ),
        "",
        "Where to sum up. The engine's way (FT.AGGREGATE with APPLY and GROUPBY) gives count, mean "
        "and spread, but neither weighted quantiles nor the ids, and it cannot share an answer of "
        "the search's cache. Medians; Redis alone for the first two, the service alone for the "
        "others.",
        "",
        "| top_k | FT.SEARCH (ms) | FT.AGGREGATE (ms) | plain Python (us) | numpy (us) |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {k} | {search:.3f} | {aggregate:.3f} | {plain:.0f} | {vectorised:.0f} |"
            for k, (search, aggregate), (plain, vectorised) in zip(
                TOP_K, engine, summing, strict=True
            )
        ),
        "",
        "Samples of the 2,000, prioritized, without vectors, one connection:",
        "",
        "| size | draws a second |",
        "| --- | --- |",
        *(f"| {size} | {rate:,.0f} |" for size, rate in zip(SAMPLES, draws, strict=True)),
        "",
    ]
    print("\n".join(lines))
    options.report.write_text("\n".join(lines))
    pairs = [*latencies, *(walk[:2] for walked in walks.values() for walk in walked)]
    return int(any(estimate > ALLOWED_RATIO * search for search, estimate in pairs))


def _latencies(port: int, top_k: int, seconds: float) -> tuple[float, float]:
    """Return p50 of search and of estimate, ms, asked in turns."""
    vectors = random_vectors(SEED + top_k, QUESTIONS)
    requests = [
        closed_loop.post(
            f"/v1/episodic/{kind}",
            orjson.dumps({"agent_id": AGENT, "state_vector": as_base64(vector), "top_k": top_k}),
            kind=kind,
        )
        for number, vector in enumerate(vectors)
        for kind in ("search" if number % 2 else "estimate",)
    ]
    source = itertools.cycle(requests)
    load = closed_loop.Load(lambda: next(source))
    figures = closed_loop.run(port, [load], seconds=seconds, warm_up_s=0.5)
    return figures.percentile_ms("search", 50), figures.percentile_ms("estimate", 50)


def _walk(port: int, top_k: int, products: int) -> tuple[float, float, float]:
    """p50 of search and of estimate, ms, and the ratio of their sums."""
    agent = f"walk-{products}-{top_k}"
    vectors = random_vectors(SEED + products, MEMORIES)
    memories = [
        memory(agent, number, as_base64(vector))
        | {
            "product_id": f"COIN{number % products}-USD",
            "timestamp": FIRST_DAY + number * DAY_S,
            "outcome_at": FIRST_DAY + (number + 5) * DAY_S,
        }
        for number, vector in enumerate(vectors)
    ]
    asked = random_vectors(SEED + top_k, 2 * WALKED)
    took_s: dict[str, list[float]] = {"search": [], "estimate": []}
    with connect(port) as connection:
        for start in range(0, MEMORIES, BATCH):
            body = orjson.dumps({"memories": memories[start : start + BATCH]})
            store(connection, closed_loop.post("/v1/episodic/batch", body, kind="batch"))
        for number, vector in enumerate(asked):
            kind = "search" if number % 2 else "estimate"
            day = MEMORIES - WALKED + number // 2
            body = orjson.dumps(
                {
                    "agent_id": agent,
                    "state_vector": as_base64(vector),
                    "top_k": top_k,
                    "as_of": FIRST_DAY + day * DAY_S,
                }
            )
            request = closed_loop.post(f"/v1/episodic/{kind}", body, kind=kind)
            started = time.perf_counter()
            answer_to(connection, request)
            took_s[kind].append(time.perf_counter() - started)
            if not number:
                time.sleep(LOOKS_BACK_S)
    search, estimate = (np.array(took_s[kind][1:]) * 1e3 for kind in ("search", "estimate"))
    of_all = float(estimate.sum() / search.sum())
    return float(np.median(search)), float(np.median(estimate)), of_all


def _draws(port: int, size: int, seconds: float) -> float:
    """Return the memories drawn a second."""
    seeds = itertools.count()

    def source() -> closed_loop.HttpRequest:
        body = {"agent_id": AGENT, "size": size, "strategy": "prioritized", "seed": next(seeds)}
        return closed_loop.post("/v1/episodic/sample", orjson.dumps(body), kind="sample")

    figures = closed_loop.run(port, [closed_loop.Load(source)], seconds=seconds)
    return figures.rate * min(size, MEMORIES)


def _engine_ms(service: RunningService, top_k: int) -> tuple[float, float]:
    """Return medians of an estimate's search, and of the engine's own aggregation."""
    client = redis.Redis.from_url(service.redis_url, protocol=2)
    call: Callable[..., object] = client.execute_command
    index, knn = f"episodic_memory_idx:{{{AGENT}}}", f"*=>[KNN {top_k} @state_vector $v AS d]"
    vector = random_vectors(SEED, 1)[0].tobytes()
    end = ("PARAMS", 2, "v", vector, "DIALECT", 2)
    search = ("FT.SEARCH", index, knn, "RETURN", 2, "record", "d", "SORTBY", "d", "LIMIT", 0, top_k)
    aggregate = (
        *("FT.AGGREGATE", index, knn, "LOAD", 2, "@action", "@reward"),
        *("APPLY", "1/(@d+0.001)", "AS", "w", "APPLY", "@w*@reward", "AS", "wr"),
        *("APPLY", "@wr*@reward", "AS", "wrr", "APPLY", "@w*@w", "AS", "ww"),
        *("GROUPBY", 1, "@action", "REDUCE", "COUNT", 0, "AS", "n", "REDUCE", "MIN", 1, "@d"),
        *("REDUCE", "SUM", 1, "@w", "REDUCE", "SUM", 1, "@wr"),
        *("REDUCE", "SUM", 1, "@wrr", "REDUCE", "SUM", 1, "@ww"),
    )
    return (
        _median_s(partial(call, *search, *end)) * 1e3,
        _median_s(partial(call, *aggregate, *end)) * 1e3,
    )


def _summing_us(top_k: int) -> tuple[float, float]:
    """Return medians of the service's own aggregation, and of the same with numpy."""
    rng = np.random.default_rng(SEED)
    actions = ("buy", "sell", "hold")
    found = [
        Neighbour(actions[i % 3], float(rng.normal()), float(rng.uniform(0.1, 0.9)))
        for i in range(top_k)
    ]
    kernel = Kernel("inverse", delta=1e-3, bandwidth=1.0)
    return (
        _median_s(lambda: estimate_actions(found, kernel, stop_loss=0.1)) * 1e6,
        _median_s(lambda: _with_numpy(found)) * 1e6,
    )


def _with_numpy(found: Sequence[Neighbour]) -> list[dict[str, object]]:
    rewards = np.array([n.reward for n in found])
    distances = np.array([n.distance for n in found])
    names, codes = np.unique([n.action or "" for n in found], return_inverse=True)
    estimates: list[dict[str, object]] = []
    for code, name in enumerate(names):
        own = codes == code
        order = np.argsort(rewards[own])
        reward, weight = rewards[own][order], 1 / (distances[own][order] + 1e-3)
        share = weight / weight.sum()
        value = share @ reward
        reached = np.cumsum(share)
        places = np.minimum(np.searchsorted(reached, (0.05, 0.5, 0.95)), len(reward) - 1)
        estimates.append(
            {
                "action": name,
                "value": value,
                "stdev": np.sqrt(share @ (reward - value) ** 2),
                "quantiles": reward[places],
                "win_rate": share[reward > 0].sum(),
                "loss_probability": share[reward < -0.1].sum(),
                "effective_n": 1 / (share @ share),
                "nearest_distance": distances[own].min(),
            }
        )
    return estimates


def _median_s(call: Callable[[], object]) -> float:
    took = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        call()
        took.append(time.perf_counter() - started)
    return float(np.median(took))


if __name__ == "__main__":
    sys.exit(main())
