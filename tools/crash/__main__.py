"""`python -m tools.crash`: crash a deployment for minutes; see `--help`.

Exit status: 0 every promise held, 1 one did not, 2 it could not run.
"""

import argparse
import asyncio
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

from bench.machine import describe_machine
from bench.paths import RESULTS
from bench.progress import Progress
from tools.crash.deployment import TOPOLOGIES, Topology, parts_of
from tools.crash.faults import Kind, Role, kinds_of
from tools.crash.load import LEVELS
from tools.crash.namespaces import are_permitted, namespaces
from tools.crash.network import LOOPBACK_NETWORK, Network
from tools.crash.report import write
from tools.crash.run import AGENTS, READERS, Plan, crash, empty


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.crash", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="of each run (%(default)s)")
    parser.add_argument("--agents", type=int, default=AGENTS, help="writers (%(default)s)")
    parser.add_argument("--readers", type=int, default=READERS, help="(%(default)s)")
    parser.add_argument("--pace", type=float, default=1.0, help="of the requests (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--topology", nargs="+", choices=TOPOLOGIES, default=["replicas"], help="one run for each"
    )
    parser.add_argument(
        "--level",
        nargs="+",
        choices=(*LEVELS, "mixed"),
        default=["mixed"],
        help="and for each of these; mixed: writers of all levels side by side",
    )
    parser.add_argument(
        "--overlapping",
        action="store_true",
        help="faults do not wait for each other: what was confirmed may be lost then, no answer "
        "may be wrong",
    )
    parser.add_argument(
        "--namespaces",
        action="store_true",
        help="cut the network instead: each part in a namespace of its own (needs root and `ip`)",
    )
    parser.add_argument(
        "--only",
        nargs=2,
        action="append",
        metavar=("FAULT", "PART"),
        help="this fault and no other, as pause master; may be given again",
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the reports")
    parser.add_argument("--logs", type=Path, help="keep the logs of all parts here")
    return parser.parse_args()


def _only(arguments: argparse.Namespace, topology: Topology) -> tuple[tuple[Kind, Role], ...]:
    """Return which of this topology's faults were asked for; empty means all of them."""
    if not arguments.only:
        return ()
    wanted = {(kind, role) for kind, role in arguments.only}
    kinds = kinds_of(topology, has_namespaces=arguments.namespaces)
    if unknown := wanted.difference(kinds):
        known = ", ".join(" ".join(pair) for pair in dict.fromkeys(kinds))
        sys.exit(f"--only {' '.join(unknown.pop())}: {topology} has {known}.")
    return tuple(wanted.intersection(kinds))


def _network(arguments: argparse.Namespace, topology: Topology) -> AbstractContextManager[Network]:
    return namespaces(parts_of(topology)) if arguments.namespaces else nullcontext(LOOPBACK_NETWORK)


def main() -> int:
    """Run each combination; the exit status."""
    arguments = _arguments()
    if arguments.namespaces and not are_permitted():
        print("Namespaces need root and the command ip (Debian's iproute2).", file=sys.stderr)
        return 2
    date, machine, say = datetime.now(UTC), describe_machine(), Progress()
    results = []
    for topology in arguments.topology:
        for level in arguments.level:
            with tempfile.TemporaryDirectory(prefix="coinswarm-crash-") as temporary:
                folder = Path(temporary)
                if arguments.logs is not None:
                    folder = arguments.logs / f"{topology}-{level}"
                plan = Plan(
                    minutes=arguments.minutes,
                    seed=arguments.seed,
                    topology=topology,
                    level=level,
                    overlapping=arguments.overlapping,
                    agents=arguments.agents,
                    readers=arguments.readers,
                    pace=arguments.pace,
                    only=_only(arguments, topology),
                )
                with _network(arguments, topology) as network:
                    results.append(asyncio.run(crash(plan, folder, network=network, say=say)))
                empty(folder)
            for broken in results[-1].verdict.broken:
                say(f"BROKEN: {broken}")
    name = f"{date:%Y-%m-%d-%H%M}-crash"
    path = write(
        results, machine, date=f"{date:%Y-%m-%d %H:%M} UTC", folder=arguments.results / name
    )
    say(f"{path}")
    return 1 if any(result.verdict.broken for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
