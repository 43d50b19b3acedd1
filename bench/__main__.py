"""`python -m bench COMMAND`: measure the service; see `--help`.

Exit codes of `run`: 0 every target was met, 1 one was missed or not measured, 2 it could not run.
Of `compare`: 0 every database ran that needs no server of its own and every target was met, 1 not
so, 2 it could not run, or the machine was too busy to publish.
"""

import argparse
import sys
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from bench.arguments import compare_plan, parse_arguments, partitions, plan_of
from bench.data import DATA_KINDS
from bench.idle import MachineBusy, wait_for_an_idle_machine
from bench.locust_process import LocustFailed
from bench.machine import describe_machine, now_line
from bench.paths import BENCHMARKS
from bench.progress import Progress
from bench.publish import CannotPublish, publish
from bench.report import Report, write_markdown, write_report
from bench.targets import read_targets


def run(arguments: argparse.Namespace, command: str) -> int:
    """Run the three phases."""
    from bench.bench_report import bench_report, is_passed  # noqa: PLC0415 - draws with matplotlib
    from bench.run import run_bench  # noqa: PLC0415

    targets = read_targets(arguments.targets)
    plan = plan_of(arguments)
    date = now_line()
    result = run_bench(plan, Progress())
    report = bench_report(result, targets, date, command)
    _write(report, arguments, "" if plan.name == "full" else plan.name)
    return 0 if is_passed(result, targets) else 1


def compare(arguments: argparse.Namespace, command: str) -> int:
    """Measure the other databases."""
    from bench.compare.compare_report import compare_report  # noqa: PLC0415
    from bench.compare.comparison import (  # noqa: PLC0415
        CALLERS,
        is_complete,
    )
    from bench.compare.comparison import compare as measure  # noqa: PLC0415
    from bench.compare.summary import Summary, read_summary, write_summary  # noqa: PLC0415
    from bench.compare.verdicts import verdicts  # noqa: PLC0415

    plan, say = compare_plan(arguments), Progress()
    if arguments.publish:
        wait_for_an_idle_machine(say)
    date, machine = now_line(), describe_machine()
    cases = measure(plan, say)
    summary = Summary(
        date=date,
        command=command,
        machine=machine.sentence,
        commit=machine.commit,
        data=plan.data,
        rounds=plan.rounds,
        seconds=plan.seconds,
        callers=CALLERS,
        load_at_start=machine.load_average,
        load_at_end=describe_machine().load_average,
        cases=cases,
    )
    folder = arguments.results / f"{datetime.now(UTC):%Y-%m-%d-%H%M}-compare"
    write_summary(summary, folder / "compare.json")
    # The summary is rounded, and the page is that of the summary.
    report = compare_report(read_summary(folder / "compare.json"))
    write_report(report, folder)
    if arguments.publish:
        write_summary(summary, BENCHMARKS / f"{arguments.name}.json")
        write_markdown(report, BENCHMARKS / f"{arguments.name}.md")
    missed = [verdict for verdict in verdicts(summary) if not verdict.is_met]
    for verdict in missed:
        said = verdict.words(summary.load_at_start)
        say(f"{verdict.case}: {verdict.target}: {verdict.measured:.2f}: {said}")
    print(f"{report.lead}\n{folder / 'report.html'}")
    return 0 if is_complete(summary) and not missed else 1


def scale(arguments: argparse.Namespace, command: str) -> int:
    """Measure FLAT and HNSW, with one index for each agent and with one for all."""
    from bench.scale.engine_study import study_engine  # noqa: PLC0415
    from bench.scale.scale_report import scale_report  # noqa: PLC0415 - draws with matplotlib
    from bench.scale.service_study import study_service  # noqa: PLC0415

    date, machine, say = now_line(), describe_machine(), Progress()
    engine = study_engine(
        partitions(arguments), seed=arguments.seed, limit_s=arguments.limit, say=say
    )
    totals = [size for size in (1_000, 10_000, 100_000) if size <= arguments.largest]
    service = [
        row
        for data in DATA_KINDS
        for row in study_service(totals, data=data, seed=arguments.seed, say=say)
    ]
    report = scale_report(engine, service, machine, date=date, command=command)
    _write(report, arguments, "scale")
    return 0


def publish_report(arguments: argparse.Namespace, _: str) -> int:
    """Publish an older report in docs/benchmarks/README.md."""
    publish(arguments.folder)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    arguments = parse_arguments(argv)
    words = list(argv) if argv is not None else sys.argv[1:]
    line = " ".join(("python -m bench", *words))
    commands = {"run": run, "compare": compare, "scale": scale, "publish": publish_report}
    try:
        return commands[arguments.command](arguments, line)
    except (
        LocustFailed,
        CannotPublish,
        MachineBusy,
        OSError,
        tomllib.TOMLDecodeError,
        ValidationError,
    ) as error:
        print(error, file=sys.stderr)
        return 2


def _write(report: Report, arguments: argparse.Namespace, suffix: str) -> None:
    moment = datetime.now(UTC).strftime("%Y-%m-%d-%H%M")
    folder: Path = arguments.results / (f"{moment}-{suffix}" if suffix else moment)
    write_report(report, folder)
    if arguments.publish:
        publish(folder)
    page = folder / "report.html"
    here = Path.cwd()
    print(f"{report.lead}\n{page.relative_to(here) if page.is_relative_to(here) else page}")


if __name__ == "__main__":
    sys.exit(main())
