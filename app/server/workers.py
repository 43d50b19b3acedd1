"""Several service processes on one socket.

The parent serves nothing. It starts the embedded Redis, if any, passes its addresses to the
workers, replaces workers that die, and ends them all. It starts the first worker alone, so that a
reason not to start is reported once instead of once per worker.
"""

import asyncio
import logging
import logging.config
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from app.connect import open_redis
from app.errors import ConfigurationError
from app.log_config import log_config
from app.metrics import METRICS_FOLDER
from app.server.uvicorn_server import DrainingServer, announce, bound_socket, uvicorn_config
from app.settings import ENV_PREFIX, Settings

logger = logging.getLogger(__name__)

APP = "app.api.app:create_app"
HEALTHCHECK_TIMEOUT_S = 60
"""A worker that is silent for this long hangs. Importing the service takes seconds on a busy
machine, during which a worker is silent."""
END_TIMEOUT_S = 30
"""How long a worker may take to end, apart from waiting for its requests."""
PAUSE_AFTER_DEATH_S = 1.0


def serve_with_workers(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM. Return the exit status. Raise StartError."""
    logging.config.dictConfig(log_config(settings.log_level))
    with (
        bound_socket(settings) as listener,
        _metrics_folder(),
        asyncio.Runner() as runner,
    ):
        stack = AsyncExitStack()
        try:
            runner.run(_provide_redis(settings, stack))
            supervisor = Supervisor(uvicorn_config(APP, settings), listener)
            try:
                supervisor.run()
            finally:
                supervisor.kill_all()
        finally:
            runner.run(stack.aclose())
    return 0 if supervisor.has_served else 1


async def _provide_redis(settings: Settings, stack: AsyncExitStack) -> None:
    """Open Redis and pass its address to the workers."""
    addresses = await stack.enter_async_context(open_redis(settings, "service"))
    for name, value in addresses.as_settings().items():
        os.environ[f"{ENV_PREFIX}{name}"] = value


@contextmanager
def _metrics_folder() -> Iterator[None]:
    """Create the folder in which workers share their metrics."""
    try:
        made = tempfile.TemporaryDirectory(prefix="coinswarm-metrics-")
    except OSError as error:
        raise ConfigurationError(
            f"The workers' metrics need a temporary folder ({error.strerror}): free disk space, or "
            "set TMPDIR to a folder with room."
        ) from error
    with made as folder:
        os.environ[METRICS_FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[METRICS_FOLDER]


class Worker(Process):
    """One service process."""

    @property
    def server(self) -> uvicorn.Server:
        """Return the worker's own server, created in the worker."""
        if self._server is None:
            self._server = DrainingServer(self.config, on_ready=lambda: None)
        return self._server

    def start(self) -> None:
        """Start the process. The parent closes its copy of the pipe's end: it sees a death."""
        super().start()
        self.child_conn.close()

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Run the worker's server in the new process."""
        limit_s = (self.config.timeout_graceful_shutdown or 0) + END_TIMEOUT_S
        threading.Thread(target=_end_with_parent, args=(limit_s,), daemon=True).start()
        super().target(sockets)


class Supervisor(Multiprocess):
    """Keeps as many workers alive as the settings ask for."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        super().__init__(config, [listener])
        self.has_served = False
        self._listener = listener

    def init_processes(self) -> None:
        """Start the first worker."""
        self.processes.append(self._start())

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died. Start the others once the first one serves."""
        for index, worker in enumerate(self.processes):
            if self.should_exit.is_set() or self.signal_queue:
                return
            if worker.is_alive(HEALTHCHECK_TIMEOUT_S):
                continue
            worker.kill()
            worker.join()
            self._forget(worker)
            if not self.has_served:  # it has reported why, and would fail the same way again
                self.should_exit.set()
                return
            logger.error("worker died", extra={"worker": worker.pid, "status": worker.exitcode})
            self.should_exit.wait(PAUSE_AFTER_DEATH_S if worker.exitcode else 0)
            self.processes[index] = self._start()
        if not self.has_served and self.processes[0].is_ready():
            self.has_served = True
            announce(self._listener)
            while len(self.processes) < self.processes_num:
                self.processes.append(self._start())

    def terminate_all(self) -> None:
        """Ask all workers to end. New connections are then refused instead of left waiting."""
        super().terminate_all()
        self._listener.close()

    def join_all(self) -> None:
        """Wait until all workers have ended; kill those that hang."""
        give_up_at = time.monotonic() + (self.config.timeout_graceful_shutdown or 0) + END_TIMEOUT_S
        for worker in self.processes:
            worker.process.join(max(0.0, give_up_at - time.monotonic()))
            if worker.exitcode is None:
                logger.error("worker hangs: killed", extra={"worker": worker.pid})
                worker.process.kill()
                worker.process.join()

    def kill_all(self) -> None:
        """Kill every worker that is left, however the supervisor ended."""
        for worker in self.processes:
            if worker.exitcode is None:
                worker.process.kill()

    def handle_hup(self) -> None:
        """End as a single process does: the terminal is gone."""
        self.should_exit.set()

    def handle_ttin(self) -> None:
        """Do nothing: the number of workers is a setting."""

    def handle_ttou(self) -> None:
        """Do nothing: the number of workers is a setting."""

    def _start(self) -> Worker:
        worker = Worker(self.config, self.sockets)
        worker.start()
        return worker

    @staticmethod
    def _forget(worker: Process) -> None:
        """Clear the gauges of a dead worker; its counters still count."""
        if worker.pid is not None:
            mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def _end_with_parent(limit_s: float) -> None:
    """End this worker when its parent has ended for any reason."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    shutil.rmtree(os.environ[METRICS_FOLDER], ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(limit_s)
    os._exit(1)
