"""Searches over HTTP in a closed loop: by wrk where it is installed, else by the lean client."""

import math
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from bench.load import closed_loop
from bench.load.closed_loop import HttpRequest, Load, post

SEARCH = "search"
SEARCH_PATH = "/v1/episodic/search"

_LUA = """
local bodies, next_body = {}, tonumber(os.getenv("FIRST_BODY"))
for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end
request = function()
  next_body = next_body % #bodies + 1
  return wrk.format("POST", os.getenv("ASKED_PATH"),
    {["Content-Type"] = "application/json"}, bodies[next_body])
end
done = function(summary, latency, _)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %f %f %f %d\\n", summary.requests, summary.duration,
    latency.mean, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class HttpFigures:
    """Answers a second, latencies in ms, the generator's share of one core (0 to 1).

    `service_us` and `redis_us`: processor time of either for one answer, in microseconds; NaN: not
    known.
    """

    rate: float
    mean_ms: float
    p50_ms: float
    p99_ms: float
    generator_share: float
    service_us: float
    redis_us: float


@dataclass(frozen=True, slots=True)
class _Latency:
    mean_ms: float
    p50_ms: float
    p99_ms: float


class HttpLoad:
    """Asks the questions in turn, each run going on where the one before ended. To be closed."""

    def __init__(self, path: str, bodies: Sequence[bytes]) -> None:
        self._path = path
        self._asked = bodies
        self._next = 0
        self._folder = tempfile.TemporaryDirectory(prefix="coinswarm-load-")
        self._bodies = Path(self._folder.name) / "bodies"
        self._bodies.write_bytes(b"\n".join(bodies) + b"\n")
        self._script = Path(self._folder.name) / "search.lua"
        self._script.write_text(_LUA)
        self.wrk = shutil.which("wrk")

    def close(self) -> None:
        """Remove the files that the generator reads."""
        self._folder.cleanup()

    @property
    def generator(self) -> str:
        """What makes the load."""
        return "wrk, one thread" if self.wrk else "the project's lean client (asyncio on uvloop)"

    def run(
        self,
        port: int,
        clients: int,
        *,
        seconds: int,
        service_s: Callable[[], float] = lambda: math.nan,
        redis_s: Callable[[], float] = lambda: math.nan,
    ) -> HttpFigures:
        """Put `clients` on the server. Raises LoadFailed when an answer was not 200."""
        before = service_s(), redis_s()
        measure = self._by_wrk if self.wrk else self._by_lean_client
        answers, elapsed_s, latency, share = measure(port, clients, seconds)
        self._next = (self._next + answers) % len(self._asked)
        return HttpFigures(
            rate=answers / elapsed_s,
            mean_ms=latency.mean_ms,
            p50_ms=latency.p50_ms,
            p99_ms=latency.p99_ms,
            generator_share=share,
            service_us=(service_s() - before[0]) / answers * 1e6,
            redis_us=(redis_s() - before[1]) / answers * 1e6,
        )

    def _by_wrk(self, port: int, clients: int, seconds: int) -> tuple[int, float, _Latency, float]:
        assert self.wrk is not None
        started, used = time.perf_counter(), _children_s()
        environment = {
            "ASKED_PATH": self._path,
            "BODIES": str(self._bodies),
            "FIRST_BODY": str(self._next),
        }
        ran = subprocess.run(
            [self.wrk, "-t1", f"-c{clients}", f"-d{seconds}s", "-s", str(self._script),
             f"http://127.0.0.1:{port}"],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        share = (_children_s() - used) / (time.perf_counter() - started)
        found = re.search(r"RESULT (\d+) (\d+) (\S+) (\S+) (\S+) (\d+)", ran.stdout)
        if found is None or found.group(6) != "0":
            raise closed_loop.LoadFailed((ran.stdout + ran.stderr)[-500:])
        answers, duration_us, *latency_us = map(float, found.groups()[:5])
        latency = _Latency(*(value / 1e3 for value in latency_us))
        return int(answers), duration_us / 1e6, latency, share

    def _by_lean_client(
        self, port: int, clients: int, seconds: int
    ) -> tuple[int, float, _Latency, float]:
        position = self._next

        def source() -> HttpRequest:
            nonlocal position
            position = (position + 1) % len(self._asked)
            return post(self._path, self._asked[position], kind=SEARCH)

        loads = [Load(source) for _ in range(clients)]
        figures = closed_loop.run(port, loads, seconds=seconds, warm_up_s=0)
        return (
            len(figures.latencies_ms[SEARCH]),
            figures.elapsed_s,
            _Latency(
                fmean(figures.latencies_ms[SEARCH]),
                figures.percentile_ms(SEARCH, 50),
                figures.percentile_ms(SEARCH, 99),
            ),
            figures.generator_share,
        )


def _children_s() -> float:
    """Return the processor seconds of the child processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system
