"""`make compare`: every database in a process of its own, with a time limit."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from bench.compare.dataset import Dataset
from bench.compare.registry import ADAPTERS, NEED_A_SERVER
from bench.compare.worker import Outcome
from bench.paths import REPOSITORY
from bench.progress import Say

_LAST_WORDS = 240

# The callers are the concurrency: a numpy that starts threads of its own for each of ten only
# makes them wait for one another.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One database's outcome, by its name on the command line."""

    key: str
    outcome: Outcome


def compare(
    names: Sequence[str], data: Dataset, *, limit_s: float, say: Say
) -> list[ComparisonRow]:
    """Measure these databases one after the other."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        path = Path(folder) / "dataset.npz"
        data.save(path)
        for name in names:
            say(f"{ADAPTERS[name].name} ...")
            outcome = _in_own_process(name, path, Path(folder) / f"{name}.json", limit_s)
            say("    " + _sentence(outcome))
            rows.append(ComparisonRow(name, outcome))
    return rows


def is_complete(rows: Sequence[ComparisonRow]) -> bool:
    """Whether every database ran that needs no server or account of the reader's."""
    return all(r.outcome.not_run is None or r.key in NEED_A_SERVER for r in rows)


def _in_own_process(name: str, dataset: Path, result: Path, limit_s: float) -> Outcome:
    adapter = ADAPTERS[name]
    command = [sys.executable, "-m", "bench.compare.worker", name, str(dataset), str(result)]
    # A group of its own: whatever the database started ends with it.
    worker = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **ENVIRONMENT, "XDG_RUNTIME_DIR": str(dataset.parent)},
    )
    try:
        _, said = worker.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        _end(worker)
        reason = f"took longer than {limit_s:g} s (--limit)"
        return Outcome(adapter.name, adapter.way, not_run=reason)
    if worker.returncode or not result.exists():
        reason = why_it_ended(worker.returncode, said)
        return Outcome(adapter.name, adapter.way, not_run=reason)
    return TypeAdapter(Outcome).validate_json(result.read_bytes())


def why_it_ended(status: int, said: str) -> str:
    """The exit status and the last line of what it said."""
    last = said.strip().splitlines()[-1:] or ["it said nothing"]
    return f"ended with {status}: {last[0][-_LAST_WORDS:]}"


def _end(worker: subprocess.Popen[str]) -> None:
    """SIGTERM lets the worker's servers end with it; then SIGKILL for its group."""
    worker.terminate()
    try:
        worker.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(worker.pid, 9)
        worker.communicate()


def _sentence(outcome: Outcome) -> str:
    if outcome.alone is None or outcome.together is None:
        return f"not run: {outcome.not_run}"
    return (
        f"P50 {outcome.alone.p50_ms:.2f} ms, P99 {outcome.alone.p99_ms:.2f}; with "
        f"{outcome.together.threads} callers P99 {outcome.together.p99_ms:.1f}, "
        f"{outcome.together.per_second:,.0f}/s; recall {outcome.alone.recall:.3f}; "
        f"loaded in {outcome.load_s:.1f} s"
    )
