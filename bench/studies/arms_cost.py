"""What recalls with arms cost beside the same questions without, at the median and the 99th
percentile.

python -m bench.studies.arms_cost

One service that gives no memory to a tenth of the recalls and a placebo to another; one agent with
2,000 memories of 256 numbers; 16 connections. Rounds with `recall` and without come in turns, and
their order changes each time. Every question is another one, so that nothing is cached. Prints a
table; docs/benchmarks/hotpath.md has one.
"""

import argparse
import itertools
import statistics
import sys

import orjson

from bench.load import closed_loop
from bench.machine import describe_machine, load_line, now_line
from bench.service import running_service
from bench.studies._batches import SEED, as_base64, batch_request, connect, random_vectors
from bench.studies._batches import store_batch as store

AGENT = "agent_0"
MEMORIES = 2000
QUESTIONS = 4000
CONNECTIONS = 16
SHARES = {"MEMORY_ARM_NO_MEMORY_SHARE": "0.1", "MEMORY_ARM_PLACEBO_SHARE": "0.1"}
ALLOWED_RATIO = 1.05


def main() -> int:
    """Measure and print; 1 when recalls with arms cost more than they may."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.arms_cost")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round (2)")
    parser.add_argument("--rounds", type=int, default=15, help="of each kind (15)")
    options = parser.parse_args()
    print(f"{now_line()}. {describe_machine().sentence}. Load average before {load_line()}.\n")
    print("| question | p50 ms without | with arms | ratio | p99 ms without | with arms | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    is_too_slow = False
    with running_service({"MEMORY_CACHE_ENABLED": "false", **SHARES}) as service:
        with connect(service.port) as connection:
            for start in range(0, MEMORIES, 1000):
                store(connection, batch_request(AGENT, seed=SEED + start, ids=f"m{start}"))
        for route in ("search", "estimate"):
            found: dict[tuple[bool, int], list[float]] = {}
            sources = {recall: _questions(route, recall) for recall in (False, True)}
            for number in range(options.rounds):
                for recall in (False, True) if number % 2 else (True, False):
                    loads = [
                        closed_loop.Load(lambda asked=sources[recall]: next(asked))  # type: ignore[misc]
                        for _ in range(CONNECTIONS)
                    ]
                    figures = closed_loop.run(
                        service.port, loads, seconds=options.seconds, warm_up_s=0.3
                    )
                    for share in (50, 99):
                        told = figures.percentile_ms(route, share)
                        found.setdefault((recall, share), []).append(told)
            cells = []
            for share in (50, 99):
                plain, armed = found[False, share], found[True, share]
                ratio = statistics.median(a / p for a, p in zip(armed, plain, strict=True))
                cells += [statistics.median(plain), statistics.median(armed), ratio]
            print(f"| {route} | {' | '.join(f'{cell:.3f}' for cell in cells)} |", flush=True)
            is_too_slow |= cells[-1] > ALLOWED_RATIO
    print(f"\nLoad average after {load_line()}.")
    return int(is_too_slow)


def _questions(route: str, recall: bool) -> itertools.cycle[closed_loop.HttpRequest]:
    vectors = random_vectors(SEED + recall, QUESTIONS)
    return itertools.cycle(
        closed_loop.post(
            f"/v1/episodic/{route}",
            orjson.dumps(
                {
                    "agent_id": AGENT,
                    "state_vector": as_base64(vector),
                    "top_k": 10,
                    **({"recall": True} if recall else {}),
                }
            ),
            kind=route,
        )
        for vector in vectors
    )


if __name__ == "__main__":
    sys.exit(main())
