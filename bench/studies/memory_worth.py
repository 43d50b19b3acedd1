"""The guide's example: what memory adds to deciding about 20 stocks, out of sample.

python -m bench.studies.memory_worth

Starts a service of its own that refuses questions without `as_of`, walks the agent of `demo.guide`
through the demo's market, compares it with rivals that have no memory of states, and looks at what
consolidation's patterns were worth later. Writes the tables and plots to docs/guide/.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from tqdm import tqdm

from bench.paths import DOCS, REPOSITORY
from bench.report import Report, plain, write_markdown
from bench.service import running_service, service_environment
from bench.studies._memory_worth_report import PatternWorth, report
from demo.episodes import encode_vector
from demo.guide.trader import Trader
from demo.guide.walk import decision_days, walk
from demo.market import Windows, market_windows

FIRST_DAY = np.datetime64("2008-01-01")
AGENT = "trader"
FOLDER = DOCS / "guide"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the example and write its tables and plots; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.memory_worth")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the results go")
    folder: Path = parser.parse_args(argv).folder
    # Here, not above: it needs the demo's data package and takes seconds to import.
    from demo.prices import load_market  # noqa: PLC0415

    print("Turning 33 years of daily prices into state vectors ...", flush=True)
    moments = decision_days(market_windows(load_market()))
    with running_service({"MEMORY_REQUIRE_AS_OF": "true"}) as service:
        found = asyncio.run(example(service.url, service.redis_url, moments, FIRST_DAY))
    write_markdown(found, folder / "results.md")
    print(f"{plain(found)}\nWritten to {folder.resolve()}: results.md and its pictures.")
    return 0


async def example(url: str, redis_url: str, moments: Windows, first_day: np.datetime64) -> Report:
    """Live through the moments from `first_day` on, then look back."""
    days = len(np.unique(moments.dates[moments.dates >= first_day]))
    seconds = 0.2 if sys.stderr.isatty() else 10.0
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        with tqdm(total=days, desc="Living", unit=" days", mininterval=seconds) as bar:
            walked = await walk(
                Trader(client, AGENT), moments, first_day=first_day, on_day=lambda: bar.update(1)
            )
        later = np.flatnonzero(moments.dates >= first_day)
        until = float(moments.timestamps[later[0]])
        said = await asyncio.to_thread(_consolidate, redis_url, until)
        return report(walked, said, await _patterns(client, moments, later.tolist()))


def _consolidate(redis_url: str, until: float) -> str:
    """Return what `./memory consolidate` says about all that was known at `until`."""
    command = [sys.executable, "-m", "app", "consolidate", "--apply", "--agent", AGENT]
    done = subprocess.run(
        [*command, "--since", "0", "--until", f"{until:.0f}"],
        cwd=REPOSITORY,
        env=service_environment({"MEMORY_REDIS_URL": redis_url}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith("  "))


async def _patterns(
    client: httpx.AsyncClient, moments: Windows, later: Sequence[int]
) -> list[PatternWorth]:
    """Return each pattern, and what came of the later moments to which it is the nearest."""
    known: dict[str, dict[str, Any]] = {}
    rewards: dict[str, list[float]] = {}
    # Patterns are made now, whatever time the moments that they are made of have.
    now = time.time()
    for row in later:
        question = {
            "concept_vector": encode_vector(moments.vectors[row]),
            "regime_name": str(moments.regimes[row]),
            "memory_type": "PATTERN",
            "top_k": 1,
            "as_of": now,
        }
        answer = await client.post("/v1/semantic/search", json=question)
        for pattern in answer.raise_for_status().json()["memories"]:
            known[pattern["id"]] = pattern
            rewards.setdefault(pattern["id"], []).append(float(moments.forward_returns[row]))
    return [_pattern_worth(pattern, rewards[name]) for name, pattern in known.items()]


def _pattern_worth(pattern: dict[str, Any], later: Sequence[float]) -> PatternWorth:
    return PatternWorth(
        regime=pattern["regime_name"],
        n=pattern["metadata"]["n"],
        mean=pattern["metadata"]["mean_reward"],
        later_n=len(later),
        later_mean=float(np.mean(later)),
    )


if __name__ == "__main__":
    sys.exit(main())
