"""How long an evaluation takes, and what the searches of others pay meanwhile.

python -m bench.studies.evaluate_cost

One service in one process. One agent with 6,000 memories of 256 numbers is evaluated: 1,000
questions, 99 placebos. Another agent, with 2,000 memories, is searched over 16 connections, each of
which pauses between an answer and the next question; nothing is cached. Rounds without and with an
evaluation alternate, so that both meet the same machine. Prints a table of all rounds and their
medians; docs/guide/evaluate.md has one.
"""

import argparse
import http.client
import itertools
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from bench.load import closed_loop
from bench.machine import describe_machine, load_line, now_line
from bench.service import running_service
from bench.studies._batches import SEED, as_base64, batch_request, connect, random_vectors
from bench.studies._batches import store_batch as store

JUDGED, SEARCHED = "agent_judged", "agent_searched"
PRODUCTS, DAYS, HORIZON_DAYS = 6, 1000, 5
DAY_S = 86_400.0
START = 1_262_304_000.0
SEARCHED_MEMORIES = 2000
SEARCHES = 4000
CONNECTIONS = 16
SLICE_S = 1.0
POLL_S = 0.2
ALLOWED_S = 20.0
ALLOWED_RATIO = 1.5


@dataclass(slots=True)
class _Evaluation:
    """One evaluation, polled in a thread until it is done."""

    port: int
    took_s: float = 0.0
    result: dict[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        """Start it and wait for its result."""
        began = time.perf_counter()
        job = self._ask("POST", "/v1/evaluate", {"agent_id": JUDGED})
        while job["status"] in {"queued", "running"}:
            time.sleep(POLL_S)
            job = self._ask("GET", f"/v1/evaluate/{job['id']}")
        self.took_s = time.perf_counter() - began
        self.result = job["result"]

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            json = {"Content-Type": "application/json"}
            connection.request(method, path, None if body is None else orjson.dumps(body), json)
            return orjson.loads(connection.getresponse().read())
        finally:
            connection.close()


def main() -> int:
    """Measure and print; 1 when it takes longer, or costs others more, than it may."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.evaluate_cost")
    parser.add_argument("--rounds", type=int, default=5, help="without and with each (5)")
    parser.add_argument("--pause-ms", type=float, default=20.0, help="of each connection (20)")
    options = parser.parse_args()
    print(f"{now_line()}. {describe_machine().sentence}. Load average before {load_line()}.\n")
    print("| evaluation s | searches/s alone | beside it | p99 ms alone | beside it | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    rows = []
    with running_service({"MEMORY_CACHE_ENABLED": "false"}) as service:
        _fill(service.port)
        searches = _searches()
        load = closed_loop.Load(lambda: next(searches), pause_s=options.pause_ms / 1000)
        loads = [load] * CONNECTIONS
        alone_s = 10.0  # the first evaluation says how long the next round without one is
        for _ in range(options.rounds):
            alone = _Latencies()
            while alone.elapsed_s < alone_s:
                alone.add(closed_loop.run(service.port, loads, seconds=SLICE_S))
            evaluation = _Evaluation(service.port)
            beside = _beside(evaluation, loads)
            alone_s = beside.elapsed_s
            ratio = beside.p99_ms / alone.p99_ms
            rows.append(
                (evaluation.took_s, alone.rate, beside.rate, alone.p99_ms, beside.p99_ms, ratio)
            )
            _print_row(rows[-1])
    middle = [statistics.median(column) for column in zip(*rows, strict=True)]
    print("\nMedians:\n")
    _print_row(middle)
    print(f"\nAsked: {evaluation.result['questions']} of {evaluation.result['memories']} memories.")
    print(f"Load average after {load_line()}.")
    return int(middle[0] > ALLOWED_S or middle[-1] > ALLOWED_RATIO)


@dataclass(slots=True)
class _Latencies:
    """The searches of one round."""

    elapsed_s: float = 0.0
    found_ms: list[float] = field(default_factory=list)

    def add(self, figures: closed_loop.Figures) -> None:
        """Count a slice of time."""
        self.elapsed_s += figures.elapsed_s
        self.found_ms += figures.latencies_ms["search"]

    @property
    def rate(self) -> float:
        """Return the searches per second."""
        return len(self.found_ms) / self.elapsed_s

    @property
    def p99_ms(self) -> float:
        """Return the 99th percentile of their latencies."""
        return float(np.percentile(self.found_ms, 99))


def _beside(evaluation: _Evaluation, loads: list[closed_loop.Load]) -> _Latencies:
    """Return the searches that ran beside an evaluation from beginning to end."""
    found = _Latencies()
    thread = threading.Thread(target=evaluation.run)
    thread.start()
    while True:
        figures = closed_loop.run(evaluation.port, loads, seconds=SLICE_S)
        if not thread.is_alive():  # part of this slice had no evaluation beside it
            return found
        found.add(figures)


def _fill(port: int) -> None:
    """Store what is evaluated and what is searched."""
    rng = np.random.default_rng(SEED)
    with connect(port) as connection:
        for product in range(PRODUCTS):
            memories = [
                {
                    "id": f"{product}-{day}",
                    "agent_id": JUDGED,
                    "product_id": f"COIN{product}-USD",
                    "regime": "bull",
                    "state_vector": as_base64(vector),
                    "action": "hold",
                    "reward": reward,
                    "timestamp": START + day * DAY_S,
                    "outcome_at": START + (day + HORIZON_DAYS) * DAY_S,
                }
                for day, (vector, reward) in enumerate(
                    zip(
                        random_vectors(SEED + product, DAYS),
                        rng.normal(size=DAYS).tolist(),
                        strict=True,
                    )
                )
            ]
            body = orjson.dumps({"memories": memories})
            store(connection, closed_loop.post("/v1/episodic/batch", body, kind="batch"))
        for start in range(0, SEARCHED_MEMORIES, 1000):
            store(connection, batch_request(SEARCHED, seed=SEED + 100 + start, ids=f"m{start}"))


def _searches() -> Iterator[closed_loop.HttpRequest]:
    """Return searches without end."""
    return itertools.cycle(
        closed_loop.post(
            "/v1/episodic/search",
            orjson.dumps(
                {"agent_id": SEARCHED, "state_vector": as_base64(vector), "top_k": 10},
            ),
            kind="search",
        )
        for vector in random_vectors(SEED + 200, SEARCHES)
    )


def _print_row(row: tuple[float, ...] | list[float]) -> None:
    print(f"| {' | '.join(f'{cell:.2f}' for cell in row)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
