"""`python -m bench run`: measure the service; see `--help`.

Exit codes of `run`: 0 every target was met, 1 one was missed or not measured, 2 it could not run.
"""

import argparse
import sys
import time
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from bench.arguments import parse_arguments, plan_of
from bench.locust_process import LocustFailed


def run(arguments: argparse.Namespace, command: str) -> int:
    """The three phases."""
    from bench.bench_report import bench_report, is_passed  # noqa: PLC0415 - draws with matplotlib
    from bench.report import write_report  # noqa: PLC0415
    from bench.run import run_bench  # noqa: PLC0415
    from bench.targets import read_targets  # noqa: PLC0415

    targets = read_targets(arguments.targets)
    plan = plan_of(arguments)
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    result = run_bench(plan, _say())
    folder = arguments.results / _folder_name(plan.name)
    report = bench_report(result, targets, date, command)
    write_report(report, folder)
    print(f"{report.lead}\n{_shown(folder / 'report.html')}")
    return 0 if is_passed(result, targets) else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    arguments = parse_arguments(argv)
    words = list(argv) if argv is not None else sys.argv[1:]
    command = " ".join(("python -m bench", *words))
    try:
        return run(arguments, command)
    except (LocustFailed, OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        print(error, file=sys.stderr)
        return 2


def _folder_name(plan: str) -> str:
    now = datetime.now(UTC).strftime("%Y-%m-%d-%H%M")
    return now if plan == "full" else f"{now}-{plan}"


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _say() -> "_Clocked":
    return _Clocked(time.monotonic())


class _Clocked:
    """Prints each line with the minutes and seconds since the start."""

    def __init__(self, started: float) -> None:
        self._started = started

    def __call__(self, line: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        print(f"[{minutes:2d}:{seconds:02d}] {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
