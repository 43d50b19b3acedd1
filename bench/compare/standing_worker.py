"""A database that stays loaded: `python -m bench.compare.standing_worker NAME DATASET MIN_RECALL`.

Says in a line of JSON that it is ready, then answers each line that it reads; ends at the end of
its input. bench/compare/standing.py is the other side.
"""

import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench.compare.adapter import Adapter, CannotRun
from bench.compare.asking import (
    Run,
    ask_in_processes,
    ask_in_threads,
    first_answers,
    raise_ef,
    recall,
)
from bench.compare.dataset import Dataset, load_dataset
from bench.compare.http_search import HttpSearchClient
from bench.compare.registry import ADAPTERS
from bench.machine import package_versions
from bench.processor_time import resident_bytes

BODIES = 2_000
"""Questions that are written as HTTP bodies, of a database that keeps no answers; who asks more of
them begins again. One that keeps answers gets every question: it must never see one twice."""

Tell = Callable[[object], None]


@dataclass(frozen=True, slots=True)
class HttpQuestions:
    """The questions as POST bodies, one in each line of `bodies`; `recall` of the first of them."""

    port: int
    path: str
    bodies: Path
    recall: float


@dataclass(frozen=True, slots=True)
class Ready:
    """The database is loaded; or `not_run` says why it is not.

    `load_s`: with the indexes built. `memory_bytes`: what loading added to the database's own
    processes, or to the worker where it has none. `callers`: what asks it through its library.
    """

    name: str
    way: str
    version: str = ""
    index: str = ""
    load_s: float = 0.0
    memory_bytes: int = 0
    callers: str = "threads"
    process_ids: tuple[int, ...] = ()
    http: HttpQuestions | None = None
    not_run: str | None = None


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks with this many callers for this long, from question `first` on. Answered by a `Run`."""

    first: int
    callers: int
    seconds: float


def serve(adapter: Adapter, data: Dataset, folder: Path, *, min_recall: float, tell: Tell) -> None:
    """Load, say so, and answer until there is nothing more to read. Raises CannotRun."""
    try:
        adapter.start(folder, data.vectors.shape[1])
        tell(_loaded(adapter, data, folder, min_recall))
        for line in sys.stdin.buffer:
            tell(_answer(adapter, data, Asking(**orjson.loads(line))))
    finally:
        adapter.stop()


def _loaded(adapter: Adapter, data: Dataset, folder: Path, min_recall: float) -> Ready:
    before = resident_bytes(adapter.process_ids() or [os.getpid()])
    started = time.perf_counter()
    adapter.load(data.vectors, data.agents)
    load_s = time.perf_counter() - started
    gc.collect()
    memory_bytes = resident_bytes(adapter.process_ids() or [os.getpid()]) - before
    return Ready(
        name=adapter.name,
        way=adapter.way,
        index=adapter.index + raise_ef(adapter, data, min_recall),
        version=_version(adapter),
        load_s=load_s,
        memory_bytes=memory_bytes,
        callers="threads" if adapter.client_factory() is None else "processes",
        process_ids=tuple(adapter.process_ids()),
        http=_http_questions(adapter, data, folder),
    )


def _answer(adapter: Adapter, data: Dataset, asking: Asking) -> Run:
    first, callers, seconds = asking.first, asking.callers, asking.seconds
    factory = adapter.client_factory()
    if factory is None:
        return ask_in_threads(adapter, data, first=first, callers=callers, seconds=seconds)
    return ask_in_processes(factory, data, first=first, callers=callers, seconds=seconds)


def _version(adapter: Adapter) -> str:
    names = [adapter.package] if adapter.package else []
    return " ".join(package_versions(names).values())


def _http_questions(adapter: Adapter, data: Dataset, folder: Path) -> HttpQuestions | None:
    how = adapter.http_search()
    if how is None:
        return None
    count = len(data.asked) if adapter.has_cache else min(BODIES, len(data.asked))
    bodies = folder / "bodies"
    with bodies.open("wb") as lines:
        for i in range(count):
            lines.write(how.body(data.asked[i], int(data.askers[i])) + b"\n")
    answers = first_answers(HttpSearchClient(how), data)
    return HttpQuestions(how.port, how.path, bodies, recall(data, answers))


def main() -> int:
    """Run the worker and return the exit status. A crash ends without a line."""
    name, dataset, min_recall = sys.argv[1:]
    # What the databases print must not come between the answers.
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0) as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

        def tell(what: object) -> None:
            answers.write(orjson.dumps(what, default=str, option=orjson.OPT_APPEND_NEWLINE))

        adapter, data = ADAPTERS[name](), load_dataset(Path(dataset))
        with tempfile.TemporaryDirectory(prefix="compare-", ignore_cleanup_errors=True) as folder:
            try:
                serve(adapter, data, Path(folder), min_recall=float(min_recall), tell=tell)
            except CannotRun as reason:
                tell(Ready(adapter.name, adapter.way, not_run=str(reason)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
