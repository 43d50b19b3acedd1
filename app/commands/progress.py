"""A progress bar on standard error."""

import sys

from tqdm import tqdm

TERMINAL_INTERVAL_S = 0.2
LOG_INTERVAL_S = 10.0
"""In a file or a CI log each update is a line of its own."""


class Progress:
    """One bar for each step, in turn."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._what = ""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, what: str, done: int, total: int) -> None:
        """Show how many rows of a step are done. A `total` of 0 means unknown."""
        if self._bar is None or what != self._what:
            self._close()
            self._what = what
            self._bar = tqdm(
                desc=what,
                initial=done,
                total=total or None,
                unit=" memories",
                file=sys.stderr,
                mininterval=TERMINAL_INTERVAL_S if sys.stderr.isatty() else LOG_INTERVAL_S,
            )
        self._bar.total = total or None
        self._bar.update(done - self._bar.n)
