"""Shows the progress of a bulk store on the error stream."""

import sys
import time
from collections.abc import Callable
from typing import TypeAlias

from coinswarm_memory.answers import Progress

ProgressOption: TypeAlias = bool | Callable[[Progress], None]
"""True: a line on the error stream; a function: called after each batch."""


class ProgressLine:
    """Rewrites one line on a terminal; elsewhere writes a line every ten seconds."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._interval_s = 0.2 if self._is_terminal else 10.0
        self._said_at = 0.0

    def __call__(self, progress: Progress) -> None:
        """Show the progress, unless it was shown a moment ago."""
        is_over = progress.done == progress.total
        if not progress.done:
            return
        if not is_over and time.monotonic() - self._said_at < self._interval_s:
            return
        self._said_at = time.monotonic()
        end = "\r" if self._is_terminal and not is_over else "\n"
        sys.stderr.write(f"{progress}{end}")
        sys.stderr.flush()


def handler(option: ProgressOption) -> Callable[[Progress], None] | None:
    """Return what is called after each batch. Returns None for no progress."""
    if option is True:
        return ProgressLine()
    return option or None
