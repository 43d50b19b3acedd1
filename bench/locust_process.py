"""Runs a scenario of `loadtest/` as anybody would by hand, and reads what it measured."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.paths import REPOSITORY
from bench.samples import Samples, read_samples


class LocustFailed(Exception):
    """Locust ended with an error, or was too slow; the message carries its last words."""


def run_locust(
    scenario: str,
    *,
    url: str,
    users: int,
    options: Sequence[str],
    watched: Mapping[str, list[int]],
    timeout_s: float,
) -> Samples:
    """Run `locust -f loadtest/ --headless ... SCENARIO`. Raises LocustFailed."""
    with tempfile.TemporaryDirectory(prefix="coinswarm-bench-") as folder:
        path = Path(folder) / "samples.json"
        command = [
            *(sys.executable, "-m", "locust", "-f", "loadtest/", "--headless", "--only-summary"),
            *("--host", url, "-u", str(users), "-r", str(users)),
            *("--samples", str(path), *options),
            *(f"--watch={name}={','.join(map(str, ids))}" for name, ids in watched.items()),
            scenario,
        ]
        try:
            done = subprocess.run(
                command,
                cwd=REPOSITORY,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LocustFailed(f"{scenario} did not end within {timeout_s:g} s") from error
        # 1 is Locust's status when a request failed: that is a result, not an error.
        if done.returncode not in {0, 1} or not path.exists():
            raise LocustFailed(f"{scenario} ended with {done.returncode}: {done.stderr[-800:]}")
        return read_samples(path)
