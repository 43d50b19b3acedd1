"""Half a minute of kills and pauses under load; `make crash MINUTES=60` is the long run."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.kit.service_process import REPOSITORY
from tools.crash.namespaces import are_permitted
from tools.crash.run import Plan, crash

MINUTES = float(os.environ.get("CRASH_MINUTES", "0.5"))
CUT_MINUTES = 0.4
LONGEST_FAULT_S = 3.0
"""Long enough for a promotion, short enough for many faults."""
PACE = 0.25
"""Other tests run beside it. `make crash` sends as much as it can."""


@pytest.mark.timeout(60 * MINUTES + 600)
async def test_one_fault_at_a_time_loses_nothing_and_answers_nothing_wrong(tmp_path: Path) -> None:
    wanted = Plan(
        minutes=MINUTES,
        seed=1,
        topology="sentinel",
        level="mixed",
        longest_fault_s=LONGEST_FAULT_S,
        agents=3,
        readers=2,
        pace=PACE,
    )
    result = await crash(wanted, tmp_path)
    assert result.verdict.broken == (), result.verdict.examples
    assert result.verdict.total("doubled") == result.verdict.total("wrong") == 0
    assert all(count.confirmed > 10 for count in result.verdict.levels.values())
    assert sum(result.faults.values()) > MINUTES


@pytest.mark.timeout(600)
@pytest.mark.skipif(not are_permitted(), reason="needs root and ip: `make crash-netns` elsewhere")
async def test_master_that_is_cut_off_costs_no_confirmed_write(tmp_path: Path) -> None:
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tools.crash", "--namespaces", "--minutes", str(CUT_MINUTES)),
        *("--topology", "sentinel", "--level", "replicated", "--results", str(tmp_path)),
        *("--agents", "3", "--readers", "2", "--pace", str(PACE)),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await run.communicate()
    assert run.returncode == 0, said.decode()[-3000:]
    (report,) = tmp_path.glob("*/crash.md")
    assert "cut off" in report.read_text()
