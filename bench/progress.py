"""What a run prints while it runs."""

import time
from collections.abc import Callable

Say = Callable[[str], None]


class Progress:
    """Prints each line with the minutes and seconds since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def __call__(self, line: str) -> None:
        """Print it."""
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        print(f"[{minutes:2d}:{seconds:02d}] {line}", flush=True)
