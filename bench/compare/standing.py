"""A database that stays loaded in a process of its own, to be asked between other measurements.

The process has the environment where the databases' packages are, whatever runs here.
"""

import os
import select
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import orjson
from pydantic import TypeAdapter

from bench.compare.adapter import CannotRun
from bench.compare.asking import Run
from bench.compare.standing_worker import Asking, Ready
from bench.paths import REPOSITORY

ANSWER_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
_LAST_WORDS = 240

# The callers are the concurrency: a numpy that starts threads of its own for each of ten only
# makes them wait for one another.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}

Answer = TypeVar("Answer")


class StandingDatabase:
    """Begins to load at once, beside whatever else there is to do; `ready` waits for it."""

    def __init__(self, name: str, dataset: Path, *, python: Path, min_recall: float) -> None:
        """Start it; the log goes beside `dataset`. Raises CannotRun without the interpreter."""
        if not python.exists():
            raise CannotRun(f"there is no {python}")
        self._log = dataset.with_name(f"{dataset.stem}-{name}.log")
        self._first = 0
        worker = "bench.compare.standing_worker"
        with self._log.open("wb") as log:
            # A group of its own: whatever the database started ends with it.
            self._process = subprocess.Popen(
                [python, "-m", worker, name, str(dataset), str(min_recall)],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                start_new_session=True,
                env={**os.environ, **ENVIRONMENT, "XDG_RUNTIME_DIR": str(dataset.parent)},
            )

    @property
    def process_id(self) -> int:
        """The worker's, whose children the database's processes are, if it has any."""
        return self._process.pid

    def ready(self, timeout_s: float) -> Ready:
        """Return what was loaded. Raises CannotRun."""
        ready = self._read(Ready, timeout_s)
        if ready.not_run is not None:
            raise CannotRun(ready.not_run)
        return ready

    def ask(self, *, callers: int, seconds: float) -> Run:
        """Ask with `callers` callers, after the questions of the last time. Raises CannotRun."""
        assert self._process.stdin is not None
        asking = Asking(first=self._first, callers=callers, seconds=seconds)
        with suppress(BrokenPipeError):  # it has ended: reading says why
            self._process.stdin.write(orjson.dumps(asking, option=orjson.OPT_APPEND_NEWLINE))
        run = self._read(Run, seconds + ANSWER_TIMEOUT_S)
        self._first += run.searches
        return run

    def close(self) -> None:
        """End it, and what it started."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _read(self, kind: type[Answer], timeout_s: float) -> Answer:
        """Read one line: there is never more than the one that is waited for."""
        pipe = self._process.stdout
        assert pipe is not None
        is_there, _, _ = select.select([pipe], [], [], timeout_s)
        line = pipe.readline() if is_there else b""
        if not is_there:
            raise CannotRun(f"no answer within {timeout_s:g} s")
        if not line.endswith(b"\n"):
            status = self._process.wait(STOP_TIMEOUT_S)
            raise CannotRun(why_it_ended(status, self._log.read_text("utf-8", "replace")))
        return TypeAdapter(kind).validate_json(line)


def why_it_ended(status: int, said: str) -> str:
    """Return the exit status and the last line of what it said."""
    last = said.strip().splitlines()[-1:] or ["it said nothing"]
    return f"ended with {status}: {last[0][-_LAST_WORDS:]}"
