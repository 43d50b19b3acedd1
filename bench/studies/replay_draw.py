"""How long a learner waits for a batch: `make bench-replay`.

A prioritized sample of 256 experiences of 256 numbers out of 50,000, as columns over HTTP from
another process: while nothing is written, and while 200 experiences a second are stored one by one.
"""

import argparse
import base64
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from urllib.parse import urlsplit

import numpy as np

from tests.kit.service_process import ServiceProcess, service_process

DIMENSION, EXPERIENCES, SIZE = 256, 50_000, 256
ARROW = "application/vnd.apache.arrow.stream"
AGENT = "learner"
STORES_PER_S = 200


class Caller:
    """One kept connection, and no client's cost."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def post(self, path: str, body: object, accept: str = "application/json") -> bytes:
        headers = {"Content-Type": "application/json", "Accept": accept}
        self._connection.request("POST", path, json.dumps(body), headers)
        reply = self._connection.getresponse()
        answer = reply.read()
        assert reply.status in {200, 201}, answer[:300]
        return answer


def memories(count: int, seed: int, *, with_next: bool) -> list[dict[str, object]]:
    random = np.random.default_rng(seed)
    states = random.normal(size=(count, DIMENSION)).astype("<f4")
    text = [base64.b64encode(state.tobytes()).decode() for state in states]
    return [
        {
            "agent_id": AGENT,
            "product_id": "BTC-USD",
            "regime": "bull",
            "action": "buy",
            "reward": float(reward),
            "state_vector": state,
            **({"next_state_vector": following} if with_next else {}),
        }
        for state, following, reward in zip(
            text, text[1:] + text[:1], random.normal(size=count), strict=True
        )
    ]


def draw_times_ms(caller: Caller, draws: int, accept: str) -> np.ndarray:
    body = {"agent_id": AGENT, "size": SIZE, "strategy": "prioritized", "include_vectors": True}
    times = []
    for _ in range(draws):
        started = time.perf_counter()
        caller.post("/v1/episodic/sample", body, accept)
        times.append((time.perf_counter() - started) * 1000)
    return np.array(times)


def store_for_ever(url: str) -> None:
    """Store at the rate until killed."""
    caller, number = Caller(url), 0
    some = memories(200, 99, with_next=True)
    began = time.monotonic()
    while True:
        caller.post("/v1/episodic", some[number % len(some)])
        number += 1
        time.sleep(max(0.0, began + number / STORES_PER_S - time.monotonic()))


def measure(service: ServiceProcess, *, with_next: bool, draws: int) -> None:
    caller = Caller(service.url)
    for start in range(0, EXPERIENCES, 1000):
        batch = {"memories": memories(1000, start, with_next=with_next)}
        caller.post("/v1/episodic/batch", batch)
    began = time.monotonic()
    for _ in range(3):
        first = draw_times_ms(caller, 1, ARROW)
        print(f"  a draw as Redis has it: {first[0]:.1f} ms")
    while draw_times_ms(caller, 3, ARROW).min() > 8 and time.monotonic() - began < 120:
        time.sleep(0.2)
    print(f"  the table was there after {time.monotonic() - began:.1f} s")
    print(_line("nothing is written", draw_times_ms(caller, draws, ARROW)))
    storing = subprocess.Popen(
        [sys.executable, "-m", "bench.studies.replay_draw", "--store", service.url]
    )
    try:
        time.sleep(1.0)
        print(_line(f"{STORES_PER_S} stores a second", draw_times_ms(caller, draws, ARROW)))
    finally:
        storing.kill()
        storing.wait()
    print(
        _line(
            "as JSON, nothing written",
            draw_times_ms(caller, max(20, draws // 20), "application/json"),
        )
    )


def _line(name: str, times: np.ndarray) -> str:
    p50, p99 = np.percentile(times, [50, 99])
    load = os.getloadavg()[0]
    return f"  {name}: P50 {p50:.2f} ms, P99 {p99:.2f} ms, {len(times)} draws, load {load:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", metavar="URL")
    parser.add_argument("--draws", type=int, default=1000)
    given = parser.parse_args()
    if given.store:
        store_for_ever(given.store)
    for with_next in (False, True):
        what = "states and next states" if with_next else "states"
        print(f"{SIZE} of {EXPERIENCES:,} experiences with {what} of {DIMENSION} numbers:")
        with tempfile.TemporaryDirectory() as data, service_process(data_dir=data) as service:
            measure(service, with_next=with_next, draws=given.draws)


if __name__ == "__main__":
    main()
