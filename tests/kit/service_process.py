"""The service as its users run it: `python -m app serve` in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.settings import OF_TESTS

REPOSITORY = Path(__file__).parent.parent.parent
NO_TLS = False
"""For clients of this machine's services: else each of them reads all authorities' certificates,
which takes longer than most tests."""
START_TIMEOUT_S = 120.0
WITH_DEFAULT_SIGNALS = (
    sys.executable,
    "-c",
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execv(sys.argv[1], sys.argv[1:])",
)
"""Before a command: a script that runs the suite in the background leaves Ctrl-C ignored."""
WITH_FULL_DISK = (
    sys.executable,
    "-c",
    "import os, resource, sys; n = int(sys.argv[1]); "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)); os.execv(sys.argv[2], sys.argv[2:])",
)
"""Before the most bytes of a file and a command."""
STOP_TIMEOUT_S = 60.0


@dataclass
class ServiceProcess:
    """A running service and its addresses."""

    process: subprocess.Popen[str]
    url: str
    announced: str

    def client(self) -> httpx.Client:
        """A client of this service; the caller closes it."""
        return httpx.Client(base_url=self.url, timeout=30, verify=NO_TLS)

    def redis_process_id(self) -> int:
        """The process id of its Redis master, as the service tells it."""
        with self.client() as client:
            return int(client.get("/readyz").json()["parts"]["master"]["process_id"])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; the exit status."""
        self.process.send_signal(how)
        return self.process.wait(STOP_TIMEOUT_S)


def environment(**settings: object) -> dict[str, str]:
    """This process's environment with these `MEMORY_` settings."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MEMORY_") or k in OF_TESTS}
    return clean | {f"MEMORY_{name.upper()}": str(value) for name, value in settings.items()}


def run_serve(
    *, max_file_bytes: int | None = None, **settings: object
) -> subprocess.CompletedProcess[str]:
    """Run `serve` where it is expected to refuse to start.

    `max_file_bytes`: no file grows beyond it, as on a full disk; of that root is not spared.
    """
    full_disk = [] if max_file_bytes is None else [*WITH_FULL_DISK, str(max_file_bytes)]
    return subprocess.run(
        [*full_disk, sys.executable, "-m", "app", "serve"],
        cwd=REPOSITORY,
        env=environment(**{"port": 0, **settings}),
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S,
        check=False,
    )


@contextmanager
def service_process(**settings: object) -> Iterator[ServiceProcess]:
    """A service that has said that it is ready; ended afterwards."""
    with logged_service_process(Path(os.devnull), **settings) as service:
        yield service


@contextmanager
def logged_service_process(log: Path, **settings: object) -> Iterator[ServiceProcess]:
    """The same, with the service's log in this file."""
    with log.open("w") as written:
        process = subprocess.Popen(
            [*WITH_DEFAULT_SIGNALS, sys.executable, "-m", "app", "serve"],
            cwd=REPOSITORY,
            env=environment(**{"port": 0, **settings}),
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
        )
    try:
        assert process.stdout is not None
        announced = process.stdout.readline().strip()
        found = re.search(r"http://\S+(?=/docs)", announced)
        assert found, f"no address of the docs page in {announced!r}"
        yield ServiceProcess(process, found.group(), announced)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(STOP_TIMEOUT_S)
        if process.stdout is not None:
            process.stdout.close()


def is_running(process_id: int) -> bool:
    """Whether this process still lives (a zombie does not)."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(process_id: int, timeout_s: float = 60.0) -> bool:
    """Wait for a process to end; whether it did."""
    give_up_at = time.monotonic() + timeout_s
    while time.monotonic() < give_up_at:
        if not is_running(process_id):
            return True
        time.sleep(0.02)
    return False


def children(process_id: int) -> list[int]:
    """Its child processes that run Python code of the service: the workers."""
    found = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    return [int(child) for child in found if b"spawn_main" in command_line(int(child))]


def command_line(process_id: int) -> bytes:
    try:
        return Path(f"/proc/{process_id}/cmdline").read_bytes()
    except OSError:
        return b""


def until_workers(service: ServiceProcess, count: int) -> list[int]:
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up_at:
        workers = children(service.process.pid)
        if len(workers) == count and all(map(is_running, workers)):
            return workers
        time.sleep(0.05)
    raise AssertionError(f"there are never {count} workers")


def until_ready(service: ServiceProcess, answers: int = 20) -> None:
    """Wait until each of several new connections is answered: every worker takes some."""
    give_up_at = time.monotonic() + START_TIMEOUT_S
    in_a_row = 0
    while in_a_row < answers:
        assert time.monotonic() < give_up_at
        ready = (
            httpx.get(f"{service.url}/readyz", timeout=30, verify=NO_TLS).status_code
            == httpx.codes.OK
        )
        in_a_row = in_a_row + 1 if ready else 0
