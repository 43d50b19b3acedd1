"""Samples and data frames as Arrow columns beside JSON, each from numpy to numpy or from pandas."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from coinswarm_memory import Memory
from coinswarm_memory.operations.request import ARROW, JSON, Operation, Reply
from coinswarm_memory.operations.sample import sample

SAMPLE = 256
Ways = dict[str, Callable[[], object]]


def medians_ms(rounds: int, make: Callable[[int], Ways]) -> dict[str, float]:
    """Return the median time of each way in milliseconds; rounds are interleaved."""
    taken: dict[str, list[float]] = {}
    for turn in range(rounds):
        for name, way in list(make(turn).items())[:: 1 if turn % 2 else -1]:
            started = time.perf_counter()
            way()
            taken.setdefault(name, []).append(time.perf_counter() - started)
    return {name: 1000 * statistics.median(times) for name, times in taken.items()}


def samples(memory: Memory, bare: httpx.Client, states: NDArray[np.float32], rounds: int) -> None:
    """Time a prioritized sample with its next states, until its arrays are there."""
    me = memory.agent("sampled")
    rewards = np.random.default_rng(2).normal(size=len(states))
    me.remember_many(states, next_state=np.roll(states, 1, axis=0), reward=rewards)

    def drawn(turn: int, accept: str) -> None:
        wanted = {"agent_id": "sampled", "size": SAMPLE, "strategy": "prioritized", "seed": turn}
        operation = sample(wanted)
        asked = replace(operation, request=replace(operation.request, accept=accept))
        arrays = asked.parse(_reply(bare, asked))
        assert arrays.states.shape == (SAMPLE, states.shape[1])
        assert arrays.has_next.all()

    found = medians_ms(
        rounds,
        lambda turn: {
            "columns": lambda: drawn(turn, ARROW),
            "JSON": lambda: drawn(turn, JSON),
        },
    )
    print(f"{SAMPLE} of {len(states)} sampled with next states: {_said(found)}")


def _reply(bare: httpx.Client, asked: Operation[Any]) -> Reply:
    request = asked.request
    headers = {"Content-Type": request.content_type, "Accept": request.accept}
    answer = bare.post(request.path, content=request.body, headers=headers)
    assert answer.headers["content-type"].startswith(request.accept)
    return Reply(answer.status_code, dict(answer.headers), answer.content)


def frames(
    memory: Memory,
    bare: httpx.Client,
    states: NDArray[np.float32],
    rounds: int,
    *,
    batch: int,
    in_flight: int,
) -> None:
    """Time storing a data frame: as columns by pyarrow, and as JSON by the client."""
    reward = np.random.default_rng(3).normal(size=len(states))
    frame = pd.DataFrame({"state": list(states), "action": "buy", "reward": reward})

    def ways(turn: int) -> Ways:
        return {
            "columns": lambda: _store_columns(bare, f"columns_{turn}", frame, batch, in_flight),
            "JSON": lambda: memory.agent(f"json_{turn}").remember_many(
                frame, batch=batch, in_flight=in_flight
            ),
        }

    print(f"{len(states)} stored from a data frame: {_said(medians_ms(rounds, ways))}")


def _store_columns(
    bare: httpx.Client, agent: str, frame: pd.DataFrame, batch: int, in_flight: int
) -> None:
    table = pa.Table.from_pandas(
        frame.rename(columns={"state": "state_vector"}).assign(
            id=frame.index.astype(str), agent_id=agent, product_id="p", regime="r"
        ),
        preserve_index=False,
    ).combine_chunks()

    def post(rows: pa.RecordBatch) -> int:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_batch(rows)
        answer = bare.post(
            "/v1/episodic/batch",
            content=sink.getvalue().to_pybytes(),
            headers={"Content-Type": ARROW},
        )
        return int(answer.json()["created"])

    with ThreadPoolExecutor(in_flight) as threads:
        assert sum(threads.map(post, table.to_batches(max_chunksize=batch))) == len(frame)


def _said(found: dict[str, float]) -> str:
    columns, other = found["columns"], found["JSON"]
    return f"columns {columns:,.1f} ms, JSON {other:,.1f} ms,\n  ratio {columns / other:.2f}"
