"""`make compare`: every database stays loaded, and all are asked in turn, round after round."""

import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bench.compare.adapter import MIN_RECALL, CannotRun
from bench.compare.dataset import make_dataset
from bench.compare.registry import ADAPTERS, NEED_A_SERVER, OWN_ENVIRONMENT
from bench.compare.standing import StandingDatabase
from bench.compare.standing_worker import Ready
from bench.compare.summary import Case, CaseResult, Database, Measured, Summary
from bench.data import DataKind
from bench.load.closed_loop import LoadFailed
from bench.load.http_load import HttpLoad
from bench.processor_time import OtherWork, wait_until_idle
from bench.progress import Say

CALLERS = (1, 10, 50)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. `limit_s` bounds the loading of a database; `peers` is their Python."""

    cases: tuple[Case, ...]
    databases: tuple[str, ...]
    data: DataKind
    memories: int
    questions: int
    rounds: int
    seconds: int
    seed: int
    limit_s: float
    peers: Path


def compare(plan: Plan, say: Say) -> tuple[CaseResult, ...]:
    """Measure one case after the other."""
    return tuple(_compare(plan, case, say) for case in plan.cases)


def is_complete(summary: Summary) -> bool:
    """Return whether every database ran that needs no server or account of the reader's."""
    return all(
        database.not_run is None or database.key in NEED_A_SERVER
        for result in summary.cases
        for database in result.databases
    )


def _compare(plan: Plan, case: Case, say: Say) -> CaseResult:
    say(f"{case.tenants} tenants, {case.numbers} numbers: preparing the data and the true answers")
    data = make_dataset(
        plan.data,
        memories=plan.memories,
        questions=plan.questions,
        seed=plan.seed,
        tenants=case.tenants,
        dimension=case.numbers,
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-")))
        data.save(folder / "dataset.npz")
        subjects = []
        for key in plan.databases:
            subject = Subject(key, folder / "dataset.npz", plan)
            stack.callback(subject.close)
            # One after the other: a loading time is that of a database alone.
            say("    " + subject.load())
            subjects.append(subject)
        for subject in subjects:
            subject.rest()
        for number in range(plan.rounds):
            for callers in CALLERS:
                for subject in _rotated(subjects, number):
                    subject.measure(number, callers)
            say(f"    round {number + 1} of {plan.rounds}")
        return CaseResult(
            case=case,
            vectors=len(data.vectors),
            questions=len(data.asked),
            databases=tuple(subject.result() for subject in subjects),
        )


def _rotated(subjects: Sequence["Subject"], by: int) -> list["Subject"]:
    """Return the order of a round. Another one begins each time, so neighbours change."""
    start = by % len(subjects)
    return [*subjects[start:], *subjects[:start]]


class Subject:
    """One database of a case. One that fails is asked no more, and says why."""

    def __init__(self, key: str, dataset: Path, plan: Plan) -> None:
        adapter = ADAPTERS[key]
        self._plan = plan
        self._dataset = dataset
        self._result = Database(key=key, name=adapter.name, way=adapter.way)
        self._standing: StandingDatabase | None = None
        self._load: HttpLoad | None = None
        self._ready: Ready | None = None
        self._recalls: list[float] = []
        self._measured: list[Measured] = []

    def load(self) -> str:
        """Load it, and return a sentence that says what came of it."""
        key = self._result.key
        python = Path(sys.executable) if key in OWN_ENVIRONMENT else self._plan.peers
        try:
            self._standing = StandingDatabase(
                key, self._dataset, python=python, min_recall=MIN_RECALL
            )
            self._take(self._standing.ready(self._plan.limit_s))
        except CannotRun as reason:
            self._fail(reason)
        result = self._result
        if result.not_run is not None:
            return f"{result.name}: NOT RUN: {result.not_run}"
        return f"{result.name}: loaded in {result.load_s:.1f} s, {result.index}"

    def rest(self) -> None:
        """Wait until its processes have come to rest after the load."""
        if self._ready is not None:
            wait_until_idle({self._result.key: list(self._ready.process_ids)}, timeout_s=20)

    def measure(self, number: int, callers: int) -> None:
        """Ask it in round `number`."""
        if self._standing is None or self._ready is None:
            return
        others = OtherWork([self._standing.process_id, *self._ready.process_ids])
        try:
            figures = self._ask(callers)
        except (CannotRun, LoadFailed) as reason:
            self._fail(reason)
            return
        self._measured.append(
            replace(figures, round=number, callers=callers, others=others.processors())
        )

    def result(self) -> Database:
        """Return everything that was measured."""
        return replace(
            self._result,
            recall=min(self._recalls, default=0.0),
            measured=() if self._result.not_run else tuple(self._measured),
        )

    def close(self) -> None:
        """End it."""
        if self._load is not None:
            self._load.close()
            self._load = None
        if self._standing is not None:
            self._standing.close()
            self._standing = None

    def _take(self, ready: Ready) -> None:
        self._ready = ready
        generator = f"{ready.callers}, its client library"
        if ready.http is not None:
            self._recalls.append(ready.http.recall)
            self._load = HttpLoad(ready.http.path, ready.http.bodies.read_bytes().splitlines())
            generator = self._load.generator
        self._result = replace(
            self._result,
            version=ready.version,
            index=ready.index,
            generator=generator,
            load_s=ready.load_s,
            memory_bytes=ready.memory_bytes,
        )

    def _ask(self, callers: int) -> Measured:
        """Ask over HTTP if possible, else by its client library. Raises CannotRun, LoadFailed."""
        assert self._standing is not None
        assert self._ready is not None
        if self._load is not None and self._ready.http is not None:
            http = self._load.run(self._ready.http.port, callers, seconds=self._plan.seconds)
            searches = round(http.rate * self._plan.seconds)
            return Measured(0, callers, searches, http.p50_ms, http.p99_ms, http.rate, 0.0)
        run = self._standing.ask(callers=callers, seconds=self._plan.seconds)
        self._recalls.append(run.recall)
        return Measured(0, callers, run.searches, run.p50_ms, run.p99_ms, run.per_second, 0.0)

    def _fail(self, reason: Exception) -> None:
        self._result = replace(self._result, not_run=" ".join(str(reason).split()))
        self._ready = None
        self.close()
