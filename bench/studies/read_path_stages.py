"""What each stage of the read path buys and costs: every stage on and off, in one run.

python -m bench.studies.read_path_stages

The services of all variants run side by side, each with a Redis and the same memories of its own;
one at a time is put under load, in rounds (A, B, C, A, B, C, ...), and the median of the rounds
counts. Prints the tables and writes them to docs/benchmarks/read-path.md.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.load import closed_loop
from bench.machine import describe_machine, load_line, now_line
from bench.paths import BENCHMARKS
from bench.service import RunningService, running_service
from bench.studies._batches import SEED, agent_name, batch_request, connect, store_batch
from bench.studies._stages_report import CONTROL, DEFAULT, Cell, Measured, StageCheck, report
from bench.studies._workloads import AGENTS, MEMORIES, WORKLOADS, Workload, prepare_requests

CONCURRENCY = (1, 10, 50)
REPORT = BENCHMARKS / "read-path.md"
STAGES = {
    "cache": "cache_enabled",
    "single flight": "single_flight_enabled",
    "batcher": "batch_enabled",
    "balancer and breaker": "balancer_enabled",
}


@dataclass(frozen=True, slots=True)
class Variant:
    """A service with these settings."""

    name: str
    settings: dict[str, object]

    @property
    def environment(self) -> dict[str, str]:
        """The settings as the service reads them."""
        return {f"MEMORY_{name.upper()}": str(value) for name, value in self.settings.items()}


def variants() -> list[Variant]:
    """Return the variants: none, each alone, all, all but one, more Redis, and all again as
    control."""
    off: dict[str, object] = dict.fromkeys(STAGES.values(), False)
    on: dict[str, object] = dict.fromkeys(STAGES.values(), True)
    return [
        Variant("no stage", off),
        *(Variant(f"only {stage}", off | {name: True}) for stage, name in STAGES.items()),
        Variant(DEFAULT, on),
        Variant(CONTROL, on),
        *(Variant(f"all but {stage}", on | {name: False}) for stage, name in STAGES.items()),
        Variant("all, 4 round trips in flight", on | {"batch_max_in_flight": 4}),
        Variant("all, 2 replicas", on | {"embedded_replicas": 2}),
    ]


def main() -> int:
    """Measure, print, write the report, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.read_path_stages")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, the median counts (5)")
    parser.add_argument("--seconds", type=float, default=0.6, help="of each measurement (0.6)")
    parser.add_argument("--report", type=Path, default=REPORT, help="where the report goes")
    options = parser.parse_args()
    started_s, load_before = time.monotonic(), load_line()
    with ExitStack() as stack:
        services = [
            (variant, stack.enter_context(running_service(variant.environment)))
            for variant in variants()
        ]
        for _, service in services:
            _fill(service)
        prepare_requests()
        print("filled; measuring", file=sys.stderr)
        measured = _measure(services, rounds=options.rounds, seconds=options.seconds)
    conditions = (
        f"{now_line()}. {describe_machine().sentence}. "
        f"Load average before {load_before}, after {load_line()} (1, 5, 15 minutes). "
        f"{options.rounds} rounds of {options.seconds:g} s, "
        f"{time.monotonic() - started_s:.0f} s in all."
    )
    checks = [StageCheck(stage, f"all but {stage}", name) for stage, name in STAGES.items()]
    text = report(measured, checks, conditions=conditions, concurrency=CONCURRENCY)
    print(text)
    options.report.parent.mkdir(exist_ok=True)
    options.report.write_text(text)
    return 0


def _fill(service: RunningService) -> None:
    with connect(service.port) as connection:
        for number in range(AGENTS):
            batch = batch_request(agent_name(number), seed=SEED + number, ids=None, count=MEMORIES)
            store_batch(connection, batch, created=MEMORIES)


def _measure(
    services: Sequence[tuple[Variant, RunningService]], *, rounds: int, seconds: float
) -> Measured:
    """Measure one figure a round for each variant, workload and number of agents."""
    measured: Measured = {}
    sources = {variant.name: Workload() for variant, _ in services}
    used = {variant.name: service.processor_time() for variant, service in services}
    for round_number in range(rounds):
        for name, loads_of in WORKLOADS.items():
            for agents in CONCURRENCY:
                for variant, service in services:
                    loads = loads_of(sources[variant.name], agents)
                    figures = closed_loop.run(
                        service.port, loads, seconds=seconds, used_s=used[variant.name]
                    )
                    cell = Cell(variant.name, name, agents)
                    measured.setdefault(cell, []).append(figures)
        print(f"round {round_number + 1} of {rounds}", file=sys.stderr)
    return measured


if __name__ == "__main__":
    sys.exit(main())
