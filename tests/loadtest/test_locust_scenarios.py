"""Locust itself, run as its users run it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from bench.paths import LOADTEST, REPOSITORY

SCENARIOS = {"ConcurrentAgent", "SingleAgent", "TradingAgent"}


def test_the_folder_holds_the_three_scenarios() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "locust", "-f", "loadtest/", "--list"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert set(listed.stdout.split()) >= SCENARIOS


def test_no_scenario_shadows_a_library() -> None:
    """Locust imports every file here under its bare name."""
    names = [path.stem for path in LOADTEST.rglob("*.py") if not path.name.startswith("_")]
    assert len(names) == len(SCENARIOS)
    for name in names:
        found = importlib.util.find_spec(name)
        assert found is None or Path(str(found.origin)).is_relative_to(LOADTEST)
