"""A database that a question over HTTP is held against, with the same memories and questions."""

import math
from pathlib import Path

from bench.compare.adapter import CannotRun
from bench.compare.standing import StandingDatabase
from bench.compare.standing_worker import Ready
from bench.data import DataKind
from bench.load.closed_loop import LoadFailed
from bench.load.http_load import HttpLoad
from bench.processor_time import wait_until_idle
from bench.studies._hotpath_rows import OWN_CLIENT, Row, Side
from bench.studies._raw_redis import RawFigures

MIN_RECALL = 0.99
"""EF is raised until recall is at least this: the service, beside which they stand, is exact."""

LOADING_S = 240.0


class Peer:
    """Asked with a filter on the agent. One that fails is not asked again, and says why."""

    def __init__(self, name: str, kind: DataKind, dataset: Path, *, python: Path) -> None:
        """Begin to load `dataset`; `python` is the interpreter that has its packages."""
        self._name = name
        self._kind = kind
        self._standing: StandingDatabase | None = None
        self._ready: Ready | None = None
        self._load: HttpLoad | None = None
        self._recalls: list[float] = []
        self._not_run: str | None = None
        try:
            self._standing = StandingDatabase(name, dataset, python=python, min_recall=MIN_RECALL)
        except CannotRun as reason:
            self._fail(reason)

    def wait(self) -> None:
        """Wait until it is loaded and at rest, or it is known why it is not."""
        if self._standing is None:
            return
        try:
            self._ready = ready = self._standing.ready(LOADING_S)
        except CannotRun as reason:
            self._fail(reason)
            return
        wait_until_idle({self._name: list(ready.process_ids)})
        if ready.http is not None:
            self._recalls.append(ready.http.recall)
            self._load = HttpLoad(ready.http.path, ready.http.bodies.read_bytes().splitlines())

    def ask(self, number: int, *, clients: int, seconds: int) -> list[Row]:
        """Return its rows of round `number`: over HTTP if possible; one caller by its own
        client."""
        if self._standing is None or self._ready is None:
            return []
        try:
            rows = [*self._over_http(self._ready, number, clients, seconds)]
            if clients == 1:
                rows += self._by_own_client(self._standing, number, seconds)
        except (CannotRun, LoadFailed) as reason:
            self._fail(reason)
            return []
        return rows

    def side(self) -> Side:
        """Return what was asked, with the worst recall of any of its measurements."""
        ready = self._ready
        return Side(
            kind=self._kind,
            way=self._name,
            what=f"{ready.name} {ready.version}: {ready.index}" if ready else self._name,
            recall=min(self._recalls, default=math.nan),
            not_run=self._not_run,
        )

    def close(self) -> None:
        """End it."""
        if self._load is not None:
            self._load.close()
            self._load = None
        if self._standing is not None:
            self._standing.close()
            self._standing = None

    def _over_http(self, ready: Ready, number: int, clients: int, seconds: int) -> list[Row]:
        if self._load is None or ready.http is None:
            return []
        figures = self._load.run(ready.http.port, clients, seconds=seconds)
        return [Row(self._kind, 1, number, self._name, clients, figures)]

    def _by_own_client(self, standing: StandingDatabase, number: int, seconds: int) -> list[Row]:
        run = standing.ask(callers=1, seconds=seconds)
        self._recalls.append(run.recall)
        figures = RawFigures(run.per_second, run.p50_ms, run.p99_ms)
        way = self._name + OWN_CLIENT if self._load else self._name
        return [Row(self._kind, 1, number, way, 1, figures)]

    def _fail(self, reason: Exception) -> None:
        self._not_run = " ".join(str(reason).split())  # it stands in a table
        self._ready = None
        self.close()
