"""`make fuzz MINUTES=10`: hostile names, raw requests and the OpenAPI document, for that long.

Exit status 0: every promise held. The counts are a row for docs/reference/security.md.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.kit.service_process import NO_TLS, logged_service_process
from tools.fuzz import hostile_names
from tools.fuzz.openapi_run import fuzz_openapi
from tools.fuzz.raw_http import Attacker, attack

DIMENSION = 8
VECTOR = [1.0] * DIMENSION
EXAMPLES_AT_A_TIME = 50
REQUESTS_AT_A_TIME = 500


def main() -> int:
    """Run each of the three kinds for a third of the time."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--log", default=os.devnull, help="file for the service's log")
    asked = parser.parse_args()
    share_s = asked.minutes * 60 / 3
    print(f"seed {asked.seed}, {share_s:.0f} s for each kind", flush=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        logged_service_process(
            Path(asked.log),
            dimension=DIMENSION,
            data_dir=Path(folder) / "data",
            embedded_replicas=1,
        ) as service,
        httpx.Client(base_url=service.url, timeout=30, verify=NO_TLS) as client,
    ):
        hostile_names.store_bystander(client, VECTOR)
        compared = _names(client, share_s, asked.seed)
        print(f"hostile names: {compared:,} answers compared, all equal", flush=True)
        statuses = _raw(service.url, share_s, asked.seed)
        print(f"raw requests: {statuses.total():,}, none answered with 5xx: {dict(statuses)}")
        run = fuzz_openapi(
            service.url, seconds=max(10, int(share_s)), seed=asked.seed, folder=Path(folder)
        )
        if not run.is_clean:
            print(run.report)
            return 1
        print(f"OpenAPI: {run.cases:,} requests, all answers as documented")
        page = client.post("/v1/episodic/query", json={"agent_id": hostile_names.BYSTANDER})
        if [memory["id"] for memory in page.json()["memories"]] != ["b"]:
            print("another agent's memory was touched")
            return 1
    day = datetime.now(UTC).date()
    row = f"| {day} | {asked.minutes:g} | {asked.seed} | {compared:,} | {statuses.total():,} |"
    print(f"{row} {run.cases:,} |")
    return 0


def _names(client: httpx.Client, duration_s: float, first_seed: int) -> int:
    compared = 0

    @settings(
        max_examples=EXAMPLES_AT_A_TIME,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(agent=hostile_names.agents, names=hostile_names.name_lists)
    def check(agent: str, names: list[str]) -> None:
        nonlocal compared
        compared += hostile_names.check_experiences(client, agent, names, VECTOR)
        compared += hostile_names.check_concepts(client, names, VECTOR)

    _for_as_long(duration_s, lambda turn: seed(first_seed + turn)(check)())
    return compared


def _raw(url: str, duration_s: float, first_seed: int) -> Counter[int]:
    statuses: Counter[int] = Counter()

    def some(turn: int) -> None:
        statuses.update(attack(url, Attacker(first_seed + turn, DIMENSION), REQUESTS_AT_A_TIME))

    _for_as_long(duration_s, some)
    return statuses


def _for_as_long(duration_s: float, work: Callable[[int], None]) -> None:
    end_s = time.monotonic() + duration_s
    turn = 0
    while time.monotonic() < end_s:
        work(turn)
        turn += 1


if __name__ == "__main__":
    sys.exit(main())
