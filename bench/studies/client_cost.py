"""What the Python client costs beside bare HTTP, and columns beside JSON.

`make bench-client`. Recalls, bulk stores, samples, data frames and the import. Ways are interleaved
round by round in one run; figures are medians. The bare calls have their bodies ready before the
clock starts. A service is started for it.
"""

import argparse
import base64
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import orjson
from numpy.typing import NDArray

from bench.studies import _client_columns as columns
from coinswarm_memory import Memory
from tests.kit.service_process import NO_TLS, service_process

DIMENSION = 256
BATCH, IN_FLIGHT = 500, 4
States = NDArray[np.float32]


def body(agent: str, state: States, **fields: object) -> dict[str, object]:
    """Return the fields of a request about one state."""
    vector = base64.b64encode(state.tobytes()).decode()
    return {"agent_id": agent, "state_vector": vector, **fields}


def p50_ms(times_s: list[float]) -> float:
    return 1000 * statistics.median(times_s)


def recalls(memory: Memory, bare: httpx.Client, states: States, rounds: int) -> None:
    """Time one caller: a recall by the client and the same question by httpx, in turns."""
    me = memory.agent("asked")
    me.remember_many(states, reward=np.linspace(-1, 1, len(states)))
    ways: dict[str, Callable[[States, bytes], object]] = {
        "httpx.Client.post": lambda _, content: bare.post("/v1/episodic/search", content=content),
        "Agent.recall": lambda state, _: me.recall(state, k=10),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    generator = np.random.default_rng(1)
    for turn in range(rounds):
        order = list(ways.items())[:: 1 if turn % 2 else -1]
        for name, ask in order:
            state = generator.normal(size=DIMENSION).astype(np.float32)
            content = orjson.dumps(body("asked", state, top_k=10))
            started = time.perf_counter()
            ask(state, content)
            taken[name].append(time.perf_counter() - started)
    own, other = p50_ms(taken["Agent.recall"]), p50_ms(taken["httpx.Client.post"])
    print(f"recall of 10 among {len(states)}: client {own:.3f} ms, bare {other:.3f} ms (P50),")
    print(f"  ratio {own / other:.2f}")


def stores(memory: Memory, bare: httpx.Client, states: States, rounds: int) -> None:
    """Time `remember_many` of an array, and the same batches as ready bodies by as many threads."""
    rates: dict[str, list[float]] = {"client": [], "bare": []}
    for turn in range(rounds):
        rewards = np.random.default_rng(turn).normal(size=len(states))
        ways: dict[str, Callable[[], int]] = {
            "client": bulk_store(memory, f"client_{turn}", states, rewards),
            "bare": bare_store(bare, ready_batches(f"bare_{turn}", states, rewards)),
        }
        for name, store in list(ways.items())[:: 1 if turn % 2 else -1]:
            started = time.perf_counter()
            created = store()
            rates[name].append(len(states) / (time.perf_counter() - started))
            assert created == len(states)
    own, other = statistics.median(rates["client"]), statistics.median(rates["bare"])
    print(f"{len(states)} stored: client {own:,.0f}/s, bare batches {other:,.0f}/s,")
    print(f"  ratio {own / other:.2f}")


def bulk_store(
    memory: Memory, agent: str, states: States, rewards: NDArray[np.float64]
) -> Callable[[], int]:
    """Return what stores an array by the client and counts."""

    def store() -> int:
        me = memory.agent(agent)
        options = {"batch": BATCH, "in_flight": IN_FLIGHT, "action": "buy", "reward": rewards}
        return me.remember_many(states, **options).created  # type: ignore[arg-type]

    return store


def bare_store(bare: httpx.Client, bodies: list[bytes]) -> Callable[[], int]:
    """Return what posts ready bodies and counts."""

    def post(content: bytes) -> int:
        return int(bare.post("/v1/episodic/batch", content=content).json()["created"])

    def store() -> int:
        with ThreadPoolExecutor(IN_FLIGHT) as threads:
            return sum(threads.map(post, bodies))

    return store


def ready_batches(agent: str, states: States, rewards: NDArray[np.float64]) -> list[bytes]:
    """Return the bodies of the batches."""
    items = [
        body(
            agent, state, id=f"{i}", product_id="p", regime="r", action="buy", reward=float(reward)
        )
        for i, (state, reward) in enumerate(zip(states, rewards, strict=True))
    ]
    return [
        orjson.dumps({"memories": items[start : start + BATCH]})
        for start in range(0, len(items), BATCH)
    ]


def imports() -> None:
    """Measure the processor time of the whole import, in processes of their own."""
    code = "import time; t = time.process_time(); import {}; print(time.process_time() - t)"
    for module in ("httpx, numpy", "coinswarm_memory"):
        command = [sys.executable, "-c", code.format(module)]
        found = [float(subprocess.check_output(command)) for _ in range(7)]
        print(f"import {module}: {statistics.median(found):.3f} s of processor time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000, help="recalls of each way")
    parser.add_argument("--stores", type=int, default=5, help="bulk stores of each way")
    parser.add_argument("--samples", type=int, default=100, help="samples of each way")
    arguments = parser.parse_args()
    states = np.random.default_rng(0).normal(size=(10_000, DIMENSION)).astype(np.float32)
    print(f"load average {os.getloadavg()[0]:.1f}")
    imports()
    with (
        tempfile.TemporaryDirectory() as data,
        service_process(data_dir=data) as service,
        Memory(service.url, timeout_s=60) as memory,
        httpx.Client(
            base_url=service.url,
            headers={"Content-Type": "application/json"},
            timeout=60,
            verify=NO_TLS,
        ) as bare,
    ):
        recalls(memory, bare, states[:1000], arguments.rounds)
        stores(memory, bare, states, arguments.stores)
        columns.samples(memory, bare, states[:2000], arguments.samples)
        columns.frames(memory, bare, states, arguments.stores, batch=BATCH, in_flight=IN_FLIGHT)
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
