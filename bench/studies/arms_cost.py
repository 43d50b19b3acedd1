"""What recalls with arms cost beside the same questions without, at the median and the 99th
percentile.

python -m bench.studies.arms_cost

One service that gives no memory to a tenth of the recalls and a placebo to another; one agent with
2,000 memories of 256 numbers; 16 connections. Questions with `recall` and without come mixed by
chance, so that both meet the same machine; nothing is cached. Prints a table of medians over
rounds; docs/guide/uplift.md has one.
"""

import argparse
import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import Iterator

import numpy as np
import orjson

from app.decisions.arms import Arms
from app.decisions.donors import Donors, DonorStates
from app.decisions.recall_ids import Shares
from bench.load import closed_loop
from bench.machine import describe_machine, load_line, now_line
from bench.service import running_service
from bench.studies._batches import SEED, as_base64, batch_request, connect, random_vectors
from bench.studies._batches import store_batch as store

AGENT = "agent_0"
MEMORIES = 2000
QUESTIONS = 4000
CONNECTIONS = 16
KINDS = ("plain", "recall")
SHARES = {"MEMORY_ARM_NO_MEMORY_SHARE": "0.1", "MEMORY_ARM_PLACEBO_SHARE": "0.1"}
ALLOWED_RATIO = 1.05


def main() -> int:
    """Measure and print; 1 when recalls with arms cost more than they may."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.arms_cost")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round (4)")
    parser.add_argument("--rounds", type=int, default=12, help="of each question (12)")
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
            found: dict[tuple[str, int], list[float]] = {}
            questions = _questions(route)
            loads = [closed_loop.Load(lambda: next(questions)) for _ in range(CONNECTIONS)]  # noqa: B023
            for _ in range(options.rounds):
                figures = closed_loop.run(
                    service.port, loads, seconds=options.seconds, warm_up_s=0.3
                )
                for kind, share in itertools.product(KINDS, (50, 99)):
                    told = figures.percentile_ms(kind, share)
                    found.setdefault((kind, share), []).append(told)
            cells = []
            for share in (50, 99):
                plain, armed = (found[kind, share] for kind in KINDS)
                ratio = statistics.median(a / p for a, p in zip(armed, plain, strict=True))
                cells += [statistics.median(plain), statistics.median(armed), ratio]
            print(f"| {route} | {' | '.join(f'{cell:.3f}' for cell in cells)} |", flush=True)
            is_too_slow |= cells[-1] > ALLOWED_RATIO
    print(f"\nAn arm is drawn in {_draw_us():.1f} us of processor time (median).")
    print(f"\nLoad average after {load_line()}.")
    return int(is_too_slow)


def _questions(route: str) -> Iterator[closed_loop.HttpRequest]:
    """Return questions with and without `recall`, drawn by chance, without end."""
    vectors = random_vectors(SEED, QUESTIONS)
    with_recall = np.random.default_rng(SEED).random(QUESTIONS) < 0.5
    return itertools.cycle(
        closed_loop.post(
            f"/v1/episodic/{route}",
            orjson.dumps(
                {
                    "agent_id": AGENT,
                    "state_vector": as_base64(vector),
                    "top_k": 10,
                    **({"recall": True} if has_recall else {}),
                }
            ),
            kind=KINDS[int(has_recall)],
        )
        for vector, has_recall in zip(vectors, with_recall.tolist(), strict=True)
    )


class _NoStates(DonorStates):
    """Draws no state: what the placebo asks of Redis once in five minutes is not counted."""

    def __init__(self) -> None:
        """Do nothing: it needs no service."""

    async def draw(self, *_: object) -> list[bytes]:
        """Return one state."""
        return [bytes(1024)]


def _draw_us() -> float:
    """Return the microseconds that drawing an arm and making its id take."""
    arms = Arms(Shares(1000, 1000), Donors(_NoStates()), time.time)
    states = [vector.tobytes() for vector in random_vectors(SEED, 1000)]

    async def draw_all() -> float:
        taken = []
        for state in states:
            began = time.process_time_ns()
            await arms.assign(AGENT, state, None)
            taken.append(time.process_time_ns() - began)
        return statistics.median(taken) / 1000

    return asyncio.run(draw_all())


if __name__ == "__main__":
    sys.exit(main())
