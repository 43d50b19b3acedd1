"""Runs a command for as long as its standard input stays open.

A program of its own, started as `python -I -S guard.py COMMAND...`: the service holds the other
end of the pipe, so the command ends when the service ends, however it ends, SIGKILL included.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading

STOP_TIMEOUT_S = 60
ASK_AGAIN_S = 1
"""Redis refuses to end while it writes its first append-only file, a replica's after its sync."""
PR_SET_PDEATHSIG = 1


def _die_with_guard() -> None:
    """On Linux the kernel ends the command if this guard itself is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop_at_end_of_input(child: "subprocess.Popen[bytes]") -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    for _ in range(STOP_TIMEOUT_S // ASK_AGAIN_S):
        child.terminate()
        try:
            child.wait(ASK_AGAIN_S)
        except subprocess.TimeoutExpired:
            continue
        return
    child.kill()


def main(command: list[str], inherited_fd: int) -> int:
    """Run the command, keeping `inherited_fd` (the lock of its folder) open in it as well."""
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        pass_fds=(inherited_fd,),
        # Safe here: no thread has been started yet.
        preexec_fn=_die_with_guard if sys.platform == "linux" else None,  # noqa: PLW1509
    )
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_stop_at_end_of_input, args=(child,), daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[2:], int(sys.argv[1])))
