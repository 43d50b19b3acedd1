"""A database that stays loaded: `python -m bench.compare.standing_worker NAME DATASET MIN_RECALL`.

Says in a line of JSON that it is ready, then answers each line that it reads; ends at the end of
its input. bench/compare/standing.py is the other side.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench.compare.adapter import Adapter, CannotRun
from bench.compare.dataset import Dataset, load_dataset
from bench.compare.http_search import HttpSearchClient
from bench.compare.registry import ADAPTERS
from bench.compare.worker import ask, first_answers, raise_ef, recall
from bench.machine import package_versions

BODIES = 5_000
"""Questions that are written as HTTP bodies; who asks more of them begins again."""

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
    """The database is loaded; or `not_run` says why it is not."""

    name: str
    way: str
    version: str = ""
    index: str = ""
    process_ids: tuple[int, ...] = ()
    http: HttpQuestions | None = None
    not_run: str | None = None


@dataclass(frozen=True, slots=True)
class Asking:
    """So many callers for so long, from question `first` on. The answer is a `Run`."""

    first: int
    threads: int
    seconds: float


def serve(adapter: Adapter, data: Dataset, folder: Path, *, min_recall: float, tell: Tell) -> None:
    """Load, say so, answer until there is nothing more to read. Raises CannotRun."""
    try:
        adapter.start(folder, data.vectors.shape[1])
        adapter.load(data.vectors, data.agents)
        index = adapter.index + raise_ef(adapter, data, min_recall)
        tell(
            Ready(
                name=adapter.name,
                way=adapter.way,
                version=_version(adapter),
                index=index,
                process_ids=tuple(adapter.process_ids()),
                http=_http_questions(adapter, data, folder),
            )
        )
        count = len(data.asked)
        for line in sys.stdin.buffer:
            asking = Asking(**orjson.loads(line))
            questions = [(asking.first + step) % count for step in range(count)]
            tell(ask(adapter, data, questions, threads=asking.threads, longest_s=asking.seconds))
    finally:
        adapter.stop()


def _version(adapter: Adapter) -> str:
    names = [adapter.package] if adapter.package else []
    return " ".join(package_versions(names).values())


def _http_questions(adapter: Adapter, data: Dataset, folder: Path) -> HttpQuestions | None:
    how = adapter.http_search()
    if how is None:
        return None
    first = range(min(BODIES, len(data.asked)))
    bodies = folder / "bodies"
    bodies.write_bytes(b"\n".join(how.body(data.asked[i], int(data.askers[i])) for i in first))
    answers = first_answers(HttpSearchClient(how), data)
    return HttpQuestions(how.port, how.path, bodies, recall(data, answers))


def main() -> int:
    """The exit status; a crash ends without a line."""
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
