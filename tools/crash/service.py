"""A service under test that may be killed, paused and started again on the same address."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from app.embedded.node import LOOPBACK
from tests.kit.service_process import NO_TLS, REPOSITORY, environment

START_TIMEOUT_S = 180.0
"""With overlapping faults there may be no Redis for a long time."""
STOP_TIMEOUT_S = 40.0


@dataclass
class Service:
    """One `python -m app serve`. `runner` as that of tests.deploy.nodes.Node."""

    name: str
    folder: Path
    port: int
    settings: dict[str, str]
    host: str = LOOPBACK
    runner: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Return the address that it listens on."""
        return f"http://{self.host}:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers. As a supervisor would: again, when it ends because
        no Redis is there yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > give_up_at:
                raise RuntimeError(f"{self.name} did not start: {self.log()[-1000:]}")
            if not self.is_running():
                self._spawn()
            time.sleep(0.05)

    def _spawn(self) -> None:
        with (self.folder / "service.log").open("ab") as log:
            self.process = subprocess.Popen(
                (*self.runner, sys.executable, "-m", "app", "serve"),
                cwd=REPOSITORY,
                env=environment(host=self.host, port=self.port, **self.settings),
                stdout=log,
                stderr=log,
            )

    def server_process_id(self) -> int:
        """Return the process that signals are sent to: `ip netns exec` becomes its command."""
        assert self.process is not None
        return self.process.pid

    def is_running(self) -> bool:
        """Return whether it is still running."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """End it with SIGTERM, with SIGKILL if need be."""
        if self.process is None:
            return
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def log(self) -> str:
        """Return its log so far."""
        return (self.folder / "service.log").read_text("utf-8", "replace")

    def _answers(self) -> bool:
        try:
            return (
                httpx.get(f"{self.url}/livez", timeout=1, verify=NO_TLS).status_code
                == httpx.codes.OK
            )
        except httpx.TransportError:
            return False
