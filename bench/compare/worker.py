"""Measures one database: `python -m bench.compare.worker NAME DATASET RESULT`.

A process of its own, so that a database that hangs, crashes or fills the memory ends alone.
"""

import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import orjson

from bench.compare.adapter import HNSW_EFS, MIN_RECALL, Adapter, CannotRun, SearchClient
from bench.compare.dataset import Dataset, load_dataset
from bench.compare.registry import ADAPTERS
from bench.latency import summarise
from bench.processor_time import OtherWork, resident_bytes
from bench.recall import recall_of

THREADS = 10
PREPARING = 200
"""The first questions only warm up, and find out EF."""

WARM_UP = 50
LONGEST_S = 60.0
"""Of one measurement: a slow database is measured with fewer questions, which the result says."""


@dataclass(frozen=True, slots=True)
class Run:
    """Searches by `threads` callers, each waiting for its answer before it asks again."""

    threads: int
    searches: int
    p50_ms: float
    p99_ms: float
    per_second: float
    recall: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """`load_s` with the indexes built. `memory_bytes` is what loading added: to the database's own
    processes, or to this one where it has none. `other_processors`: what the rest of the machine
    used meanwhile. `not_run` says why there is nothing else.
    """

    name: str
    way: str
    index: str = ""
    load_s: float = 0.0
    memory_bytes: int = 0
    alone: Run | None = None
    together: Run | None = None
    other_processors: float = 0.0
    not_run: str | None = None


def measure(adapter: Adapter, data: Dataset, folder: Path) -> Outcome:
    """Load, ask alone, ask together. Raises CannotRun, and whatever the client library raises."""
    adapter.start(folder, data.vectors.shape[1])
    try:
        before = resident_bytes(adapter.process_ids() or [os.getpid()])
        started = time.perf_counter()
        adapter.load(data.vectors, data.agents)
        load_s = time.perf_counter() - started
        gc.collect()
        memory = resident_bytes(adapter.process_ids() or [os.getpid()]) - before
        # No question twice: an answer out of a cache says nothing of the database.
        half = (len(data.asked) - PREPARING) // 2
        first = range(PREPARING, PREPARING + half)
        second = range(PREPARING + half, PREPARING + 2 * half)
        index = adapter.index + raise_ef(adapter, data)
        others = OtherWork([os.getpid(), *adapter.process_ids()])
        alone = ask(adapter, data, first, threads=1)
        together = ask(adapter, data, second, threads=THREADS)
        return Outcome(
            name=adapter.name,
            way=adapter.way,
            index=index,
            load_s=load_s,
            memory_bytes=memory,
            alone=alone,
            together=together,
            other_processors=others.processors([os.getpid(), *adapter.process_ids()]),
        )
    finally:
        adapter.stop()


def raise_ef(adapter: Adapter, data: Dataset, min_recall: float = MIN_RECALL) -> str:
    """Raise EF until recall is high enough for a comparison; how to name the index then."""
    if adapter.ef is None:
        return ""
    for ef in HNSW_EFS:
        adapter.ef = ef
        if recall(data, first_answers(adapter.client(), data)) >= min_recall:
            break
    return f", EF {adapter.ef}"


def first_answers(client: SearchClient, data: Dataset) -> list[tuple[int, Sequence[int]]]:
    """The preparing questions, each with its answer."""
    return [(q, client.search(data.asked[q], int(data.askers[q]))) for q in range(PREPARING)]


def ask(
    adapter: Adapter,
    data: Dataset,
    questions: Sequence[int],
    *,
    threads: int,
    longest_s: float = LONGEST_S,
) -> Run:
    """`questions` of `data`, spread over `threads` callers with a connection each."""
    clients = [adapter.client() for _ in range(threads)]
    for client in clients:
        for question in range(WARM_UP):
            client.search(data.asked[question], int(data.askers[question]))
    callers = [
        _Caller(client, data, questions[number::threads], longest_s)
        for number, client in enumerate(clients)
    ]
    gc.collect()
    gc.freeze()
    started = time.perf_counter()
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    seconds = time.perf_counter() - started
    gc.unfreeze()
    for caller in callers:
        if caller.error is not None:
            raise caller.error
    summary = summarise(np.concatenate([caller.latencies_ms for caller in callers]))
    return Run(
        threads=threads,
        searches=summary.count,
        p50_ms=summary.p50_ms,
        p99_ms=summary.p99_ms,
        per_second=summary.count / seconds,
        recall=recall(data, [pair for caller in callers for pair in caller.answers]),
    )


class _Caller(threading.Thread):
    def __init__(
        self, client: SearchClient, data: Dataset, questions: Sequence[int], longest_s: float
    ) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._data = data
        self._questions = questions
        self._longest_s = longest_s
        self.latencies_ms: list[float] = []
        self.answers: list[tuple[int, Sequence[int]]] = []
        self.error: Exception | None = None

    def run(self) -> None:
        give_up_at = time.perf_counter() + self._longest_s
        try:
            for question in self._questions:
                vector, agent = self._data.asked[question], int(self._data.askers[question])
                started = time.perf_counter()
                rows = self._client.search(vector, agent)
                now = time.perf_counter()
                self.latencies_ms.append((now - started) * 1000)
                self.answers.append((question, rows))
                if now > give_up_at:
                    return
        except Exception as error:  # noqa: BLE001 - raised again in the main thread
            self.error = error


def recall(data: Dataset, answers: Sequence[tuple[int, Sequence[int]]]) -> float:
    """recall@10 of questions with their answers. Rows of other agents do not count."""
    recalls = []
    for question, rows in answers:
        own = [row for row in rows if data.agents[row] == data.askers[question]]
        recalls.append(
            recall_of(data.vectors, data.asked[question], own, float(data.kth[question]))
        )
    return float(np.mean(recalls))


def main() -> int:
    """The outcome as JSON in the file RESULT; a crash leaves none."""
    name, dataset, result = sys.argv[1:]
    adapter = ADAPTERS[name]()
    with tempfile.TemporaryDirectory(prefix="compare-", ignore_cleanup_errors=True) as folder:
        try:
            outcome = measure(adapter, load_dataset(Path(dataset)), Path(folder))
        except CannotRun as reason:
            outcome = Outcome(adapter.name, adapter.way, not_run=str(reason))
    Path(result).write_bytes(orjson.dumps(asdict(outcome)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
