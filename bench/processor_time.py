"""Who used the processor while latencies were measured."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep

import psutil

GENERATOR = "generator"
SERVICE = "service"
REDIS = "redis"
OTHERS = "others"

_REDIS_SERVER = "redis-server"
_REST_S = 0.5
_REST_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class ProcessorTime:
    """Processor seconds by who used them, within `wall_s` seconds."""

    wall_s: float
    seconds: Mapping[str, float]

    def cores(self, who: str) -> float:
        """Return how many processors were busy for `who` on average (1.0: one whole processor)."""
        return self.seconds.get(who, 0.0) / self.wall_s if self.wall_s else 0.0


class ProcessorClock:
    """Reads what this process (`generator`) and others used between `start` and `stop`.

    `others` is what the rest of the machine used: work that disturbed the measurement.
    """

    def __init__(self, watched: Mapping[str, list[int]]) -> None:
        self._watched = {GENERATOR: [os.getpid()], **watched}
        self._before: dict[str, float] = {}
        self._started_at = 0.0

    def start(self) -> None:
        """Begin counting, from zero."""
        self._before = self._read()
        self._started_at = perf_counter()

    def stop(self) -> ProcessorTime:
        """Return what was used since `start`."""
        wall_s = perf_counter() - self._started_at
        now = self._read()
        # What others used is a difference of clocks that tick apart, so it may be just below zero.
        return ProcessorTime(wall_s, {who: max(0.0, now[who] - self._before[who]) for who in now})

    def _read(self) -> dict[str, float]:
        used = {who: sum(map(_used_s, ids)) for who, ids in self._watched.items()}
        return {**used, OTHERS: _busy_s() - sum(used.values())}


class OtherWork:
    """How many processors were busy for others since this was made.

    What this process used is not theirs, nor what the processes `roots` and all their children
    used, nor any child of this process that has ended since.
    """

    def __init__(self, roots: Sequence[int]) -> None:
        self._roots = roots
        self._own_before_s = self._own_s()
        self._busy_before_s = _busy_s()
        self._started_at = perf_counter()

    def processors(self) -> float:
        """Return the average since the beginning."""
        own_s = self._own_s() - self._own_before_s
        others_s = _busy_s() - self._busy_before_s - own_s
        return max(0.0, others_s / (perf_counter() - self._started_at))

    def _own_s(self) -> float:
        return sum(os.times()[:4]) + sum(map(_with_ended_children_s, self._family()))

    def _family(self) -> set[int]:
        found = set()
        for root in self._roots:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(root)
                found |= {root, *(child.pid for child in process.children(recursive=True))}
        return found


def _with_ended_children_s(process_id: int) -> float:
    with suppress(psutil.NoSuchProcess):
        times = psutil.Process(process_id).cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


def _busy_s() -> float:
    """Return how many seconds all processors of the machine have worked since it started."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))


def wait_until_idle(watched: Mapping[str, list[int]], timeout_s: float = 60.0) -> None:
    """Return when these processes have come to rest, or after `timeout_s`.

    After a large load Redis rewrites its append-only file in a child process.
    """
    give_up_at = perf_counter() + timeout_s
    ids = [i for group in watched.values() for i in group]
    before = sum(map(_used_s, ids))
    while perf_counter() < give_up_at:
        sleep(_REST_S)
        now = sum(map(_used_s, ids))
        is_rewriting = any(psutil.Process(i).children() for i in watched.get(REDIS, []))
        if now - before < _REST_S * _REST_SHARE and not is_rewriting:
            return
        before = now


def _used_s(process_id: int) -> float:
    times = psutil.Process(process_id).cpu_times()
    return float(times.user + times.system)


def exact_processor_time(process_ids: Sequence[int]) -> Callable[[], float]:
    """Return what reads the processor seconds of these processes so far, to the nanosecond.

    What psutil tells comes in hundredths of a second: too coarse for one batch. NaN off Linux.
    """
    if not Path("/proc/self/schedstat").exists():
        return lambda: math.nan
    folders = [Path(f"/proc/{process_id}/task") for process_id in process_ids]

    def used_s() -> float:
        spent = (task / "schedstat" for folder in folders for task in folder.iterdir())
        return sum(int(file.read_text().split()[0]) for file in spent) / 1e9

    return used_s


def service_processes(process_id: int) -> dict[str, list[int]]:
    """Return the process ids of the service and of its Redis nodes, to watch.

    The child that a node makes to write a snapshot is left out: it ends by itself.
    """
    children = psutil.Process(process_id).children(recursive=True)
    names = {child.pid: child.name() for child in children}
    nodes = [child for child in children if _REDIS_SERVER in names[child.pid]]
    redis = [node.pid for node in nodes if _REDIS_SERVER not in names.get(node.ppid(), "")]
    others = [child.pid for child in children if child not in nodes]
    return {SERVICE: [process_id, *others], REDIS: redis}


def resident_bytes(process_ids: list[int]) -> int:
    """Return the memory of these processes; what they share counts once (PSS)."""
    total = 0
    for process_id in process_ids:
        with suppress(psutil.NoSuchProcess):
            total += psutil.Process(process_id).memory_full_info().pss
    return total
