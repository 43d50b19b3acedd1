"""Where one search's processor time goes in the service: by stage, by function, by system call.

python -m bench.studies.hop_budget

Two services with the same memories, one of them sampled (_cpu_sampler.py). The plain one tells the
processor time of a search; the sampled one how it is shared out; strace counts the plain one's
system calls. With --publish it writes docs/benchmarks/hop-budget.json and its page. Exit status: 0
every stage is within its budget, 1 one is not, 2 the machine was too busy or strace is missing.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import orjson
import psutil
from pydantic import TypeAdapter

from bench.compare.dataset import dataset_of
from bench.compare.summary import as_rounded_json
from bench.data import workload
from bench.idle import may_publish
from bench.machine import describe_machine, now_line
from bench.paths import BENCHMARKS, REPOSITORY
from bench.processor_time import OtherWork, exact_processor_time, wait_until_idle
from bench.progress import Progress
from bench.report import Report, Section, Table, markdown
from bench.service import PROGRAM
from bench.studies._batches import SEED
from bench.studies._hotpath_service import Subject, filled_service

AGENTS = 10
MEMORIES = 1_000
QUESTIONS = 20_000
CLIENTS = (1, 16)
SUMMARY = BENCHMARKS / "hop-budget.json"
PAGE = BENCHMARKS / "hop-budget.md"
FUNCTIONS = 20

STAGES = (
    ("HTTP server and event loop", ("/uvicorn/", "/asyncio/", "_weakrefset", "app/server/")),
    (
        "middleware and metrics",
        (
            *("app/api/middleware", "app/api/gate", "app/api/doorway", "app/api/time_limit"),
            *("app/api/direct", "app/api/metrics", "app/auth/", "app/context", "app/metrics"),
            "/prometheus_client/",
        ),
    ),
    ("body", ("app/api/body", "app/contract/", "app/vectors", "/pydantic", "/pybase64")),
    (
        "question",
        (
            *("app/memory/", "app/read_path/", "app/service", "app/keys"),
            *("app/api/episodic", "app/api/dependencies", "app/api/permissions"),
        ),
    ),
    ("command and hits", ("app/storage/", "app/model")),
    ("Redis's connection", ("app/nodes/", "/redis/", "/hiredis/")),
    ("answer", ("app/api/responses", "app/api/error_handlers", "/starlette/", "/fastapi/")),
)
"""A sample counts for the stage of its innermost function that belongs to one."""

REST = "other"

BUDGET_US = {
    "HTTP server and event loop": 60.0,
    "middleware and metrics": 35.0,
    "body": 18.0,
    "question": 45.0,
    "command and hits": 28.0,
    "Redis's connection": 22.0,
    "answer": 14.0,
}
"""Processor time of one search with 16 callers, by stage: what a change may not exceed."""


@dataclass(frozen=True, slots=True)
class Load:
    """One number of callers. `system_share`: of the processor time, in the kernel.

    `samples` by stage, `functions` with their samples, `calls` of the system by name for each
    search.
    """

    clients: int
    service_us: float
    system_share: float
    others: float
    samples: dict[str, int]
    functions: dict[str, int]
    calls: dict[str, float]

    def stage_us(self, stage: str) -> float:
        """Return the microseconds of one search."""
        return self.samples.get(stage, 0) / sum(self.samples.values()) * self.service_us


@dataclass(frozen=True, slots=True)
class Budget:
    """A whole run."""

    date: str
    machine: str
    commit: str
    load_at_start: float
    loads: tuple[Load, ...]


def main() -> int:
    """Measure, print, write the page, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.hop_budget")
    parser.add_argument("--seconds", type=int, default=8, help="of sampling (8)")
    parser.add_argument("--rounds", type=int, default=5, help="of 1 s for the plain service (5)")
    parser.add_argument("--publish", action="store_true", help="write the page; needs quiet")
    options = parser.parse_args()
    strace = shutil.which("strace")
    if strace is None:
        print("strace is missing: the system calls cannot be counted.", file=sys.stderr)
        return 2
    if options.publish and not may_publish(Progress()):
        return 2
    date, machine = now_line(), describe_machine()
    with ExitStack() as stack:
        out = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="budget-"))) / "stacks"
        plain, sampled = _subjects(out, stack)
        loads = tuple(
            replace(
                _load(plain, sampled, out, clients, options),
                calls=_system_calls(strace, plain, clients),
            )
            for clients in CLIENTS
        )
    budget = Budget(date, machine.sentence, machine.commit, machine.load_average, loads)
    text = markdown(budget_report(budget))
    print(text)
    if options.publish:
        SUMMARY.write_bytes(as_rounded_json(budget))
        # The summary is rounded, and the page is that of the summary.
        PAGE.write_text(markdown(budget_report(read_budget(SUMMARY))))
    return 0 if not over_budget(budget) else 1


def _subjects(out: Path, stack: ExitStack) -> list[Subject]:
    work = workload(
        "random",
        name="budget",
        agents=AGENTS,
        memories_each=MEMORIES,
        questions=QUESTIONS,
        dimension=256,
        seed=SEED,
    )
    order = np.random.default_rng(SEED).permutation(work.total)
    data = dataset_of(work, order=order, askers=np.arange(QUESTIONS) % AGENTS)
    programs = (PROGRAM, ("-m", "bench.studies._cpu_sampler", str(out)))
    subjects = [
        filled_service(
            "random",
            work,
            data,
            order=order,
            workers=1,
            top_k=10,
            stack=stack,
            program=program,
            settings={"MEMORY_RESIDENT_MAX_BYTES": "0"},
        )
        for program in programs
    ]
    for subject in subjects:
        wait_until_idle(subject.service.processes())
    return subjects


def _load(
    plain: Subject, sampled: Subject, out: Path, clients: int, options: argparse.Namespace
) -> Load:
    others = OtherWork([plain.service.process_id, sampled.service.process_id])
    service_us, system_share = _plain(plain, clients, options.rounds)
    stacks = _stacks(sampled, out, clients, options.seconds)
    samples, functions = shared_out(stacks)
    return Load(
        clients=clients,
        service_us=service_us,
        system_share=system_share,
        others=others.processors(),
        samples=dict(samples.most_common()),
        functions=dict(functions.most_common(FUNCTIONS)),
        calls={},
    )


def _plain(subject: Subject, clients: int, rounds: int) -> tuple[float, float]:
    process = psutil.Process(subject.service.process_id)
    service_s = exact_processor_time([process.pid])
    before = process.cpu_times()
    figures = []
    for _ in range(rounds):
        subject.forget()
        figures.append(
            subject.load.run(subject.service.port, clients, seconds=1, service_s=service_s)
        )
    after = process.cpu_times()
    system_s = after.system - before.system
    return (
        median(each.service_us for each in figures),
        system_s / (system_s + after.user - before.user),
    )


def _stacks(subject: Subject, out: Path, clients: int, seconds: int) -> list[tuple[list[str], int]]:
    subject.forget()
    out.unlink(missing_ok=True)
    os.kill(subject.service.process_id, signal.SIGUSR1)
    subject.load.run(subject.service.port, clients, seconds=seconds)
    os.kill(subject.service.process_id, signal.SIGUSR2)
    give_up_at = time.monotonic() + 10
    while not out.exists() and time.monotonic() < give_up_at:
        time.sleep(0.05)
    found = orjson.loads(out.read_bytes())
    return [([f"{file}:{name}" for file, name in stack], count) for stack, count in found]


def shared_out(stacks: Sequence[tuple[Sequence[str], int]]) -> tuple[Counter[str], Counter[str]]:
    """Count samples by stage and by function. A stack holds `FILE:NAME`, innermost first."""
    stages: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for stack, count in stacks:
        stages[next(filter(None, map(_stage, stack)), REST)] += count
        functions[_short(stack[0]) if stack else REST] += count
    return stages, functions


def _stage(function: str) -> str | None:
    file = function.rpartition(":")[0]
    return next((name for name, parts in STAGES if any(part in file for part in parts)), None)


def _short(function: str) -> str:
    """Return the file's path from its package on."""
    file = function.removeprefix(f"{REPOSITORY}/")
    return file.rpartition("site-packages/")[2].rpartition("/lib/python3.11/")[2]


def _system_calls(strace: str, subject: Subject, clients: int) -> dict[str, float]:
    """Return system calls for each search; strace itself does not change their number by much."""
    with tempfile.NamedTemporaryFile(prefix="strace-") as table:
        tracer = subprocess.Popen(
            [strace, "-f", "-c", "-o", table.name, "-p", str(subject.service.process_id)],
            stderr=subprocess.DEVNULL,
        )
        time.sleep(0.5)
        figures = subject.load.run(subject.service.port, clients, seconds=2)
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
        lines = Path(table.name).read_text("utf-8")
    searches = figures.rate * 2
    found = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", lines, re.MULTILINE)
    return {name: int(calls) / searches for calls, name in found if name != "total"}


def over_budget(budget: Budget) -> list[str]:
    """Return the stages that take more with 16 callers than they may."""
    load = next(each for each in budget.loads if each.clients == CLIENTS[-1])
    return [stage for stage, limit in BUDGET_US.items() if load.stage_us(stage) > limit]


def budget_report(budget: Budget) -> Report:
    """Return the page: stages, functions and system calls."""
    over = over_budget(budget)
    busy = max(load.others for load in budget.loads)
    outcome = (
        f"FAIL: over the budget: {', '.join(over)} (other programs kept up to {busy:.2f} "
        f"processors busy; load average {budget.load_at_start:.2f} at the start)."
        if over
        else "PASS: every stage is within its budget."
    )
    return Report(
        title=f"Where one search's processor time goes, {budget.date}",
        lead=(
            f"{outcome} `make bench-budget`: {AGENTS} agents with {MEMORIES:,} memories, one "
            f"worker, wrk, no answer from the cache or from copies. {budget.machine}. "
            f"Commit {budget.commit}. Load average {budget.load_at_start:.2f} at the start; other "
            f"programs kept up to {busy:.2f} processors busy."
        ),
        sections=(
            Section("Stages", (_STAGES, _stages_table(budget))),
            Section("Functions", (_FUNCTIONS, *(_functions_table(each) for each in budget.loads))),
            Section("System calls for each search", (_calls_table(budget),)),
        ),
    )


_STAGES = (
    "Microseconds of the service's processor time for one search, measured without the sampler and "
    "shared out by its samples (of processor time, not of waiting). A sample counts for the stage "
    "of its innermost function that belongs to one; what the event loop does between callbacks, "
    "its reads and polls, counts for the callback that follows. The budget is for 16 callers."
)

_FUNCTIONS = (
    "The functions that were running, compiled code below them included, with their share of the "
    "samples."
)


def _stages_table(budget: Budget) -> Table:
    names = [name for name, _ in STAGES] + [REST]
    rows = [
        (
            name,
            *(f"{load.stage_us(name):.0f}" for load in budget.loads),
            f"{BUDGET_US[name]:.0f}" if name in BUDGET_US else "-",
        )
        for name in names
    ]
    rows.append(("all", *(f"{load.service_us:.0f}" for load in budget.loads), "-"))
    rows.append(
        ("of it in the kernel", *(f"{load.system_share:.0%}" for load in budget.loads), "-")
    )
    columns = ("stage", *(_callers(load) for load in budget.loads), "budget")
    return Table(columns, tuple(rows))


def _functions_table(load: Load) -> Table:
    whole = sum(load.samples.values())
    rows = tuple((f"`{name}`", f"{count / whole:.1%}") for name, count in load.functions.items())
    return Table((f"function, {_callers(load)}", "share"), rows)


def _calls_table(budget: Budget) -> Table:
    names = sorted({name for load in budget.loads for name in load.calls})
    rows = tuple(
        (name, *(f"{load.calls.get(name, 0.0):.2f}" for load in budget.loads)) for name in names
    )
    return Table(("call", *(_callers(load) for load in budget.loads)), rows)


def _callers(load: Load) -> str:
    return f"{load.clients} caller{'s' * (load.clients > 1)}"


def read_budget(path: Path) -> Budget:
    """Return what was published. Raises OSError, pydantic.ValidationError."""
    return TypeAdapter(Budget).validate_json(path.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
