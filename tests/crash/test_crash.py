"""Two minutes of kills and pauses under load; `make crash MINUTES=60` is the long run."""

import os
from pathlib import Path

import pytest

from tests.crash.run import Plan, crash

MINUTES = float(os.environ.get("CRASH_MINUTES", "2"))


@pytest.mark.timeout(60 * MINUTES + 240)
async def test_one_fault_at_a_time_loses_nothing_and_answers_nothing_wrong(tmp_path: Path) -> None:
    wanted = Plan(minutes=MINUTES, seed=1, topology="replicas", level="memory")
    result = await crash(wanted, tmp_path)
    assert result.verdict.broken == (), result.verdict.examples
    assert result.verdict.doubled == result.verdict.wrong == 0
    assert result.verdict.confirmed > 100
    assert sum(result.faults.values()) > MINUTES
