"""The service under test, as its users run it: `python -m app serve` in a process of its own."""

import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent
STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service that said that it is ready, and the socket of its embedded master."""

    port: int
    process_id: int
    redis_url: str

    def processor_times(self) -> tuple[Callable[[], float], Callable[[], float]]:
        """As `processor_time`, for the service's own processes and for its Redis."""
        every = _with_descendants(self.process_id)
        redis = [i for i in every if _command_of(i).endswith("redis-server")]
        return _used_by([i for i in every if i not in redis]), _used_by(redis)

    def processor_time(self) -> Callable[[], float]:
        """Tells the processor seconds used so far by the service and its Redis; NaN off Linux."""
        return _used_by(_with_descendants(self.process_id))


def _used_by(process_ids: Sequence[int]) -> Callable[[], float]:
    if not Path("/proc/self/schedstat").exists():
        return lambda: math.nan
    threads = [Path(f"/proc/{process_id}/task") for process_id in process_ids]

    def used_s() -> float:
        spent = (task / "schedstat" for folder in threads for task in folder.iterdir())
        return sum(int(file.read_text().split()[0]) for file in spent) / 1e9

    return used_s


def _command_of(process_id: int) -> str:
    return str(Path(f"/proc/{process_id}/exe").readlink())


def _with_descendants(process_id: int) -> list[int]:
    if not Path("/proc/self/schedstat").exists():
        return []
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    return [process_id, *(found for child in children for found in _with_descendants(int(child)))]


@contextmanager
def running_service(**settings: object) -> Iterator[RunningService]:
    """Start a service on a free port and an empty temporary folder; end it afterwards.

    `settings` by their names in app/settings.py. Raises RuntimeError when it does not start.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.upper().startswith("MEMORY_")}
    with tempfile.TemporaryDirectory(prefix="coinswarm-bench-") as folder:
        own = {"port": 0, "data_dir": folder, **settings}
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve"],
            cwd=REPOSITORY,
            env={**inherited, **{f"MEMORY_{k.upper()}": str(v) for k, v in own.items()}},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            announced = process.stdout.readline()
            found = re.search(r"http://\S+:(\d+)/docs", announced)
            if not found:
                raise RuntimeError(f"the service did not start with {settings}")
            socket_path = min(Path(folder).rglob("redis.sock"))  # the master is the first node
            yield RunningService(int(found.group(1)), process.pid, f"unix://{socket_path}")
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:  # what was measured is not lost to a slow end
                process.kill()
                process.wait()
