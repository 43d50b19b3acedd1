"""The command line: `python -m bench COMMAND`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.paths import RESULTS, TARGETS
from bench.plan import DEFAULT_VARIANTS, Variant


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Ends the program on a wrong command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the service.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="the three phases; fails when a target is missed")
    _add_run(run)
    return parser.parse_args(argv)


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
        "--vectors", choices=["base64", "numbers"], default="base64", help="how vectors are sent"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--targets", type=Path, default=TARGETS)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the reports")


def variants(arguments: argparse.Namespace) -> tuple[Variant, ...]:
    """What the command line asks for, with the settings that hold for all."""
    common = dict(arguments.set)
    chosen = arguments.variant or DEFAULT_VARIANTS
    return tuple(Variant(v.name, {**common, **v.settings}) for v in chosen)


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.startswith("MEMORY_"):
        raise argparse.ArgumentTypeError("must look like MEMORY_WORKERS=2")
    return name, value


def _variant(text: str) -> Variant:
    name, _, settings = text.partition(":")
    return Variant(name, dict(_setting(pair) for pair in settings.split(",") if pair))
