"""The service with a sampler of its processor time: python -m bench.studies._cpu_sampler OUT serve.

The kernel's ITIMER_PROF counts processor time, of user code and of system calls, so waiting is not
sampled. A sample is taken when the interpreter next looks for signals: time in compiled code counts
for the Python function that called it, and what the event loop does between callbacks counts for
the callback that follows. SIGUSR1 starts again, SIGUSR2 writes OUT: stacks, innermost function
first, with how often each was seen.
"""

import json
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL_S = 0.001
"""Finer than the kernel's ticks (1 to 4 ms), which decide."""

Function = tuple[str, str]


class Sampler:
    """Counts stacks while it is installed."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._seen: Counter[tuple[Function, ...]] = Counter()

    def install(self) -> None:
        """Begin to sample this process."""
        signal.signal(signal.SIGPROF, self._sample)
        signal.signal(signal.SIGUSR1, self._begin_anew)
        signal.signal(signal.SIGUSR2, self._write)
        # System calls that were interrupted go on by themselves.
        signal.siginterrupt(signal.SIGPROF, False)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)

    def _sample(self, _: int, frame: FrameType | None) -> None:
        stack = []
        while frame is not None:
            stack.append((frame.f_code.co_filename, frame.f_code.co_name))
            frame = frame.f_back
        self._seen[tuple(stack)] += 1

    def _begin_anew(self, _: int, __: FrameType | None) -> None:
        self._seen.clear()

    def _write(self, _: int, __: FrameType | None) -> None:
        written = self._out.with_suffix(".part")
        written.write_text(json.dumps(list(self._seen.items())))
        written.rename(self._out)


def main() -> None:
    """Run the service's command line, sampled."""
    out = Path(sys.argv[1])
    sys.argv = ["app", *sys.argv[2:]]
    Sampler(out).install()
    runpy.run_module("app", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
