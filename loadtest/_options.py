"""The scenarios' own options on Locust's command line and web page."""

from argparse import Namespace
from typing import Any

from locust import events
from locust.argument_parser import LocustArgumentParser


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser, **_: Any) -> None:
    parser.add_argument(
        "--data",
        choices=["random", "market"],
        default="random",
        help="seeded random vectors, or real market windows (needs the demo's packages: "
        "requirements/bench.txt)",
    )
    parser.add_argument(
        "--memories",
        type=int,
        default=0,
        help="memories of each agent (0: 10,000 in phase 1, 1,000 in phase 2, 2,000 in phase 3)",
    )
    parser.add_argument(
        "--agents", type=int, default=10, help="phase 2: agents with memories; users share them"
    )
    parser.add_argument(
        "--queries",
        type=int,
        default=0,
        help="phases 1 and 2: end after this many measured queries of each user (0: do not end)",
    )
    parser.add_argument(
        "--first-question",
        type=int,
        default=0,
        help="phases 1 and 2: where to begin; a question asked before may be answered from a cache",
    )
    parser.add_argument(
        "--warm-up", type=int, default=20, help="queries of each user before it is measured"
    )
    parser.add_argument(
        "--time-scale",
        type=float,
        default=1.0,
        help="phase 3: 60 runs the hour in a minute, with 60 times as many requests a second",
    )
    parser.add_argument(
        "--trading-minutes", type=float, default=60.0, help="phase 3: how long the agents trade"
    )
    parser.add_argument(
        "--vectors",
        choices=["base64", "numbers"],
        default="base64",
        help="how vectors are sent: base64 of float32, or arrays of numbers",
    )
    parser.add_argument("--dimension", type=int, default=256, help="the service's MEMORY_DIMENSION")
    parser.add_argument("--seed", type=int, default=1, help="all data and times follow from it")
    parser.add_argument(
        "--run-id", default="", help="phase 3: part of the agents' names (default: the time)"
    )
    parser.add_argument(
        "--no-fill",
        action="store_true",
        help="the memories are in the service already",
        include_in_web_ui=False,
    )
    parser.add_argument(
        "--samples", default="", help="write every request to this file", include_in_web_ui=False
    )
    parser.add_argument(
        "--no-answers",
        action="store_true",
        help="do not keep answers in that file",
        include_in_web_ui=False,
    )
    parser.add_argument(
        "--watch",
        action="append",
        default=[],
        metavar="NAME=PID,PID",
        help="note the processor time of these processes in that file",
        include_in_web_ui=False,
    )


def watched_processes(options: Namespace) -> dict[str, list[int]]:
    """Return the process ids of `--watch` by name."""
    pairs = (text.split("=", 1) for text in options.watch)
    return {name: [int(i) for i in ids.split(",") if i] for name, ids in pairs}
