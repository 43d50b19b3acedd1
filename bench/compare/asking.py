"""Callers that ask a database through its own client library, in threads or in processes."""

import gc
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

import numpy as np
from numpy.typing import NDArray

from bench.compare.adapter import (
    HNSW_EFS,
    MIN_RECALL,
    Adapter,
    CannotRun,
    ClientFactory,
    SearchClient,
)
from bench.compare.dataset import Dataset
from bench.latency import summarise
from bench.recall import recall_of

PREPARING = 100
"""The first questions find out EF."""

WARM_UP = 20
CHECKED_ANSWERS = 100
"""Answers of each caller that are compared with the truth, after the measured time."""

MOST_QUESTIONS = 4_000
"""One measurement's callers share these, and begin again when they have asked them all."""

START_TIMEOUT_S = 60.0

Answers = list[tuple[int, Sequence[int]]]


@dataclass(frozen=True, slots=True)
class Run:
    """Searches by `callers`, each waiting for its answer before it asks again."""

    callers: int
    searches: int
    p50_ms: float
    p99_ms: float
    per_second: float
    recall: float


@dataclass(frozen=True, slots=True, eq=False)
class _Questions:
    """One caller's: `asked` (q, d) put by agents `askers` (q,); `numbers` (q,) name them."""

    numbers: NDArray[np.int64]
    asked: NDArray[np.float32]
    askers: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """What one caller measured; `error` says why there is nothing else."""

    latencies_ms: NDArray[np.float64]
    elapsed_s: float
    answers: Answers
    error: str | None = None


def ask_in_threads(
    adapter: Adapter, data: Dataset, *, first: int, callers: int, seconds: float
) -> Run:
    """Ask an engine that lives in this process: its callers can only be threads of it."""
    start = threading.Barrier(callers)
    told: list[_Told] = []

    def call(client: SearchClient, questions: _Questions) -> None:
        told.append(_told(client, questions, start, seconds))

    threads = [
        threading.Thread(target=call, args=(adapter.client(), questions), daemon=True)
        for questions in _shared_out(data, first, callers)
    ]
    gc.collect()
    gc.freeze()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.unfreeze()
    return _run(told, data)


def ask_in_processes(
    clients: ClientFactory, data: Dataset, *, first: int, callers: int, seconds: float
) -> Run:
    """Ask a server from one process for each caller, as a swarm does."""
    context = get_context("forkserver")
    # What every caller imports is imported once, before the fork.
    context.set_forkserver_preload(
        ["bench.compare.standing_worker", type(clients).__module__, *clients.modules]
    )
    start = context.Barrier(callers)
    pipes, processes = [], []
    for questions in _shared_out(data, first, callers):
        here, there = context.Pipe(duplex=False)
        process = context.Process(
            target=_call, args=(clients, questions, start, seconds, there), daemon=True
        )
        process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    try:
        told = [_received(pipe, seconds) for pipe in pipes]
    finally:
        for process in processes:
            process.kill()
            process.join()
    return _run(told, data)


def _call(
    clients: ClientFactory,
    questions: _Questions,
    start: Barrier,
    seconds: float,
    pipe: Connection,
) -> None:
    """Ask as one caller, in a process of its own."""
    gc.disable()
    pipe.send(_told(clients.client(), questions, start, seconds))


def _received(pipe: Connection, seconds: float) -> _Told:
    if not pipe.poll(START_TIMEOUT_S + seconds):
        raise CannotRun("a caller did not answer in time")
    try:
        told: _Told = pipe.recv()
    except EOFError:
        raise CannotRun("a caller's process ended early") from None
    return told


def _shared_out(data: Dataset, first: int, callers: int) -> list[_Questions]:
    count = min(len(data.asked), MOST_QUESTIONS)
    numbers = (first + np.arange(count)) % len(data.asked)
    return [
        _Questions(mine, data.asked[mine], data.askers[mine])
        for mine in (numbers[caller::callers] for caller in range(callers))
    ]


def _told(
    client: SearchClient,
    questions: _Questions,
    start: Barrier | threading.Barrier,
    seconds: float,
) -> _Told:
    """Return what the caller measured. A failure ends this caller and is reported."""
    try:
        return _asked(client, questions, start, seconds)
    except Exception as error:  # noqa: BLE001 - a client library's own; raised by `_run`
        start.abort()
        return _Told(np.empty(0), 0.0, [], f"{type(error).__name__}: {error}")


def _asked(
    client: SearchClient,
    questions: _Questions,
    start: Barrier | threading.Barrier,
    seconds: float,
) -> _Told:
    asked = list(zip(questions.numbers.tolist(), questions.asked, questions.askers, strict=True))
    for _, vector, agent in asked[-WARM_UP:]:
        client.search(vector, int(agent))
    latencies: list[float] = []
    answers: Answers = []
    start.wait(START_TIMEOUT_S)
    began = now = time.perf_counter()
    while now - began < seconds:
        number, vector, agent = asked[len(latencies) % len(asked)]
        rows = client.search(vector, int(agent))
        answered = time.perf_counter()
        latencies.append((answered - now) * 1000)
        if len(answers) < CHECKED_ANSWERS:
            answers.append((number, rows))
        now = time.perf_counter()
    return _Told(np.array(latencies), now - began, answers)


def _run(told: Sequence[_Told], data: Dataset) -> Run:
    """Return all callers' figures in one. Raises CannotRun if one of them failed."""
    errors = [each.error for each in told if each.error is not None]
    if errors:
        # The first caller to fail broke the barrier of the others, which then say less.
        raise CannotRun(next((e for e in errors if "BrokenBarrier" not in e), errors[0]))
    summary = summarise(np.concatenate([each.latencies_ms for each in told]))
    return Run(
        callers=len(told),
        searches=summary.count,
        p50_ms=summary.p50_ms,
        p99_ms=summary.p99_ms,
        per_second=sum(len(each.latencies_ms) / each.elapsed_s for each in told),
        recall=recall(data, [pair for each in told for pair in each.answers]),
    )


def raise_ef(adapter: Adapter, data: Dataset, min_recall: float = MIN_RECALL) -> str:
    """Raise EF until recall is high enough to compare, and return the index's name then."""
    if adapter.ef is None:
        return ""
    for ef in HNSW_EFS:
        adapter.ef = ef
        if recall(data, first_answers(adapter.client(), data)) >= min_recall:
            break
    return f", EF {adapter.ef}"


def first_answers(client: SearchClient, data: Dataset) -> Answers:
    """Return the preparing questions, each with its answer."""
    return [(q, client.search(data.asked[q], int(data.askers[q]))) for q in range(PREPARING)]


def recall(data: Dataset, answers: Answers) -> float:
    """Return recall@10 of questions with their answers. Rows of other agents do not count."""
    recalls = []
    for question, rows in answers:
        own = [row for row in rows if data.agents[row] == data.askers[question]]
        recalls.append(
            recall_of(data.vectors, data.asked[question], own, float(data.kth[question]))
        )
    return float(np.mean(recalls))
