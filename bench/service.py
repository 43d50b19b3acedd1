"""The service under test, as its users run it: `python -m app serve` in a process of its own."""

import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.settings import Settings
from bench.paths import REPOSITORY
from bench.processor_time import exact_processor_time, service_processes

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
PROGRAM = ("-m", "app")
_PREFIX = "MEMORY_"


class ServiceStartError(Exception):
    """The service did not start; the message carries what it said."""


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service that said that it is ready."""

    url: str
    process_id: int
    data_folder: Path

    @property
    def port(self) -> int:
        """The TCP port of `url`."""
        return int(self.url.rpartition(":")[2])

    @property
    def redis_url(self) -> str:
        """The socket of the embedded master, which is the first of its nodes."""
        return f"unix://{min(self.data_folder.rglob('redis.sock'))}"

    def processor_time(self) -> Callable[[], float]:
        """Return the processor seconds used so far by the service and its Redis nodes."""
        return exact_processor_time([i for group in self.processes().values() for i in group])

    def processes(self) -> dict[str, list[int]]:
        """Return the process ids of the service and of its Redis nodes."""
        return service_processes(self.process_id)


def unknown_settings(settings: Mapping[str, str]) -> list[str]:
    """Return the `MEMORY_` names that this version of the service does not have."""
    known = {f"{_PREFIX}{name}".upper() for name in Settings.model_fields}
    return sorted(name for name in settings if name.upper() not in known)


def service_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with its `MEMORY_` variables replaced by these."""
    inherited = {k: v for k, v in os.environ.items() if not k.upper().startswith(_PREFIX)}
    return {**inherited, **settings}


@contextmanager
def running_service(
    settings: Mapping[str, str], *, program: Sequence[str] = PROGRAM
) -> Iterator[RunningService]:
    """Start the service on a free port and an empty temporary data folder; end it afterwards.

    `program` are the interpreter's arguments before the command. `settings` are `MEMORY_`
    variables; those of this process's environment do not reach it.
    Raises ServiceStartError.
    """
    with tempfile.TemporaryDirectory(prefix="coinswarm-bench-") as folder:
        process = _spawn(Path(folder), settings, program)
        try:
            url = _announced_url(process, Path(folder))
            yield RunningService(url, process.pid, _data_folder(Path(folder)))
        finally:
            _stop(process)


def _data_folder(folder: Path) -> Path:
    return folder / "data"


def _spawn(
    folder: Path, settings: Mapping[str, str], program: Sequence[str]
) -> subprocess.Popen[str]:
    own = {"MEMORY_PORT": "0", "MEMORY_DATA_DIR": str(_data_folder(folder))}
    with (folder / "service.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, *program, "serve"],
            cwd=REPOSITORY,
            env=service_environment({**own, **settings}),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def _announced_url(process: subprocess.Popen[str], folder: Path) -> str:
    assert process.stdout is not None
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    reader = threading.Thread(target=lambda: said.put(process.stdout.readline()), daemon=True)  # type: ignore[union-attr]
    reader.start()
    try:
        line = said.get(timeout=START_TIMEOUT_S)
    except queue.Empty:
        line = ""
    found = re.search(r"http://\S+(?=/docs)", line)
    if found is None:
        last = (folder / "service.log").read_text("utf-8", "replace").strip()[-500:]
        raise ServiceStartError(f"The service did not say that it is ready: {last or line!r}")
    return found.group()


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
