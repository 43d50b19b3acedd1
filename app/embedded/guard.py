"""Runs a server for as long as its standard input stays open.

A program of its own, started as `python -I -S guard.py FD PAUSE_S COMMAND...`. The service holds
the other end of the pipe, so the server ends when the service ends for any reason, including
SIGKILL. A byte on the pipe says that the server is up. After that, a server that dies is restarted
after PAUSE_S; the pause doubles each time until a server has lived for a while.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

STOP_TIMEOUT_S = 60
LONGEST_PAUSE_S = 30.0
PR_SET_PDEATHSIG = 1


class Guard:
    """Keeps one server running. `inherited_fd`, its folder's lock, stays open in the server."""

    def __init__(self, command: list[str], inherited_fd: int, first_pause_s: float) -> None:
        self._command = command
        self._first_pause_s = first_pause_s
        self._inherited_fd = inherited_fd
        self._has_come_up = False
        self._must_end = threading.Event()
        self._child = self._start()

    def run(self) -> int:
        """Run until the pipe closes or a server ends before it was up. Return its exit status."""
        signal.signal(signal.SIGTERM, lambda *_: self._end())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._follow_pipe, daemon=True).start()
        pause_s = self._first_pause_s
        while True:
            started_at = time.monotonic()
            status = self._child.wait()
            if time.monotonic() - started_at > LONGEST_PAUSE_S:
                pause_s = self._first_pause_s
            if not self._has_come_up or self._must_end.wait(pause_s):
                return status
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            self._child = self._start()
            if self._must_end.is_set():
                self._child.terminate()

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            pass_fds=(self._inherited_fd,),
            # Only this thread runs Python code between fork and exec.
            preexec_fn=_die_with_guard if sys.platform == "linux" else None,  # noqa: PLW1509
        )

    def _follow_pipe(self) -> None:
        while os.read(sys.stdin.fileno(), 1):
            self._has_come_up = True
        self._end()

    def _end(self) -> None:
        self._must_end.set()
        child = self._child
        child.terminate()
        try:
            child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()


def _die_with_guard() -> None:
    """Make the kernel end the server if this guard is killed (Linux only)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(Guard(sys.argv[3:], int(sys.argv[1]), float(sys.argv[2])).run())
