"""The command line: `python -m bench COMMAND`."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data import DATA_KINDS
from bench.paths import PEERS_PYTHON, RESULTS, TARGETS
from bench.plan import DEFAULT_VARIANTS, Plan, Variant, quick_plan

if TYPE_CHECKING:
    from bench.compare.comparison import Plan as ComparePlan
    from bench.scale.engine_study import Partition

FULL_TIME_SCALE = 10.0
QUICK_TIME_SCALE = 60.0

FULL_CASES = ("20x256", "250x256", "1000x256", "20x768", "250x768", "1000x768")
QUICK_CASES = ("250x256", "1000x256")

SIZES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 1_000_000)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line. Ends the program if it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the service.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="the three phases; fails when a target is missed")
    _add_run(run)
    scale = commands.add_parser("scale", help="FLAT and HNSW from 1,000 vectors to a million")
    _add_scale(scale)
    compare = commands.add_parser("compare", help="the same data and questions on other databases")
    _add_compare(compare)
    publish = commands.add_parser(
        "publish", help="a report's tables into docs/benchmarks/README.md"
    )
    publish.add_argument("folder", type=Path, help="a folder of loadtest/results")
    return parser.parse_args(argv)


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the reports")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="put its tables into docs/benchmarks/README.md as well",
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="five minutes instead of the plan")
    parser.add_argument(
        "--time-scale",
        type=float,
        metavar="X",
        help="run phase 3 X times as fast (full: 10, quick: 60; 1 takes the whole hour, twice)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="MEMORY_NAME=VALUE",
        help="a setting for every variant (may be repeated)",
    )
    parser.add_argument(
        "--variant",
        action="append",
        type=_variant,
        metavar="NAME[:MEMORY_X=1,MEMORY_Y=2]",
        help="measure this configuration instead of `one node` and `2 replicas` (may be repeated)",
    )
    parser.add_argument(
        "--phases", type=_phases, default=[1, 2, 3], metavar="1,2,3", help="run only these"
    )
    parser.add_argument(
        "--data", choices=["random", "market"], help="phases 1 and 2 with this data only"
    )
    parser.add_argument(
        "--vectors", choices=["base64", "numbers"], default="base64", help="how vectors are sent"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--targets", type=Path, default=TARGETS)
    _add_report(parser)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    from bench.compare.registry import ADAPTERS  # noqa: PLC0415 - only where it is needed

    parser.add_argument(
        "databases",
        nargs="*",
        default=list(ADAPTERS),
        choices=[*ADAPTERS, list(ADAPTERS)],
        metavar="DATABASE",
        help=f"some of {', '.join(ADAPTERS)} (default: all)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer cases and rounds: within twelve minutes"
    )
    parser.add_argument(
        "--cases", nargs="+", metavar="TENANTSxNUMBERS", help=f"default: {' '.join(FULL_CASES)}"
    )
    parser.add_argument("--rounds", type=int, help="default: 5, quick: 3")
    parser.add_argument("--seconds", type=int, help="of each measurement; default: 2, quick: 1")
    parser.add_argument("--data", choices=["random", "market"], default="market")
    parser.add_argument("--memories", type=int, default=50_000, help="in all (%(default)s)")
    parser.add_argument("--questions", type=int, default=20_000, help="%(default)s")
    parser.add_argument(
        "--limit", type=float, default=600.0, metavar="S", help="seconds to load a database"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--peers", type=Path, default=PEERS_PYTHON, help="a Python that has the other databases"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the reports")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="write NAME.json and its page in docs/benchmarks; refused on a busy machine",
    )
    parser.add_argument("--name", default="compare", help="of the page (%(default)s)")


def compare_plan(arguments: argparse.Namespace) -> "ComparePlan":
    """Return what the command line of `compare` asks for. Raises ValueError for a wrong case."""
    from bench.compare.comparison import Plan as ComparePlan  # noqa: PLC0415
    from bench.compare.summary import cases_of  # noqa: PLC0415

    is_quick = arguments.quick
    return ComparePlan(
        cases=tuple(cases_of(arguments.cases or (QUICK_CASES if is_quick else FULL_CASES))),
        databases=tuple(arguments.databases),
        data=arguments.data,
        memories=arguments.memories,
        questions=arguments.questions,
        rounds=arguments.rounds or (3 if is_quick else 5),
        seconds=arguments.seconds or (1 if is_quick else 2),
        seed=arguments.seed,
        limit_s=arguments.limit,
        peers=arguments.peers,
    )


def _add_scale(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--largest",
        type=int,
        default=100_000,
        metavar="N",
        help="vectors of the largest partition: 1000000 needs 8 GiB of memory and half an hour "
        "(%(default)s)",
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=900.0,
        metavar="S",
        help="an index that would take longer to load is not run (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1)
    _add_report(parser)


def partitions(arguments: argparse.Namespace) -> list["Partition"]:
    """Return the sizes of `scale`: of the market there are some 130,000 vectors, all of 256
    numbers."""
    from bench.scale.engine_study import Partition  # noqa: PLC0415 - only where it is needed

    found = [
        Partition(data, 256, size)
        for data in DATA_KINDS
        for size in SIZES
        if size <= arguments.largest and (data == "random" or size <= 100_000)
    ]
    large = [size for size in (10_000, 100_000, 1_000_000) if size <= arguments.largest]
    return found + [Partition("random", 768, size) for size in large]


def plan_of(arguments: argparse.Namespace) -> Plan:
    """Return what the command line of `run` asks for."""
    plan = Plan(
        name="full",
        variants=_variants(arguments),
        time_scale=FULL_TIME_SCALE,
        seed=arguments.seed,
        vectors=arguments.vectors,
        phases=tuple(arguments.phases),
    )
    if arguments.quick:
        plan = replace(quick_plan(plan), time_scale=QUICK_TIME_SCALE)
    if arguments.time_scale:
        plan = replace(plan, time_scale=arguments.time_scale)
    if arguments.data:
        plan = replace(plan, phase1_data=(arguments.data,), phase2_data=(arguments.data,))
    return plan


def _variants(arguments: argparse.Namespace) -> tuple[Variant, ...]:
    common = dict(arguments.set)
    chosen = arguments.variant or DEFAULT_VARIANTS
    return tuple(Variant(v.name, {**common, **v.settings}) for v in chosen)


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.startswith("MEMORY_"):
        raise argparse.ArgumentTypeError("must look like MEMORY_WORKERS=2")
    return name, value


def _phases(text: str) -> list[int]:
    phases = [int(part) for part in text.split(",") if part.strip() in {"1", "2", "3"}]
    if not phases or len(phases) != len(text.split(",")):
        raise argparse.ArgumentTypeError("must be some of 1,2,3")
    return phases


def _variant(text: str) -> Variant:
    name, _, settings = text.partition(":")
    return Variant(name, dict(_setting(pair) for pair in settings.split(",") if pair))
