"""Runs the load with a progress bar, ends it cleanly on Ctrl-C, and reports the result."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import httpx

from demo.episodes import agent_batches
from demo.loader import Loader, LoadError, LoadReport
from demo.market import Windows

INTERRUPTED = "Interrupted: what is stored is complete; run it again to store the rest."
"""Why the load ended early, if by Ctrl-C."""

_ATTEMPTS = 8


class Bar(Protocol):
    """The parts of tqdm's progress bar that are used here."""

    def update(self, n: float) -> object:
        """Move on by n memories."""

    def write(self, s: str) -> object:
        """Write a line above the bar."""


@contextmanager
def _interrupt(on_interrupt: Callable[[], None]) -> Iterator[None]:
    """Make the first Ctrl-C call `on_interrupt`; a second one ends the program as usual."""
    loop = asyncio.get_running_loop()

    def first() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        on_interrupt()

    try:
        loop.add_signal_handler(signal.SIGINT, first)
    except NotImplementedError:  # Windows' event loop: the first Ctrl-C ends the program there
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def store(
    client: httpx.AsyncClient, stored: Windows, *, batch: int, in_flight: int, bar: Bar
) -> tuple[LoadReport, str | None]:
    """Store the moments and move the bar. Return the report, and why it ended early if it did."""
    stop = asyncio.Event()
    loader = Loader(
        client, in_flight=in_flight, attempts=_ATTEMPTS, stop=stop, on_progress=bar.update
    )
    interrupted = False

    def on_interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        stop.set()
        bar.write("Ctrl-C: finishing the batches in progress (again: drop them) ...")

    with _interrupt(on_interrupt):
        try:
            await loader.run(agent_batches(stored, batch))
        except LoadError as error:
            return loader.report, str(error)
    return loader.report, INTERRUPTED if interrupted else None


def summary(report: LoadReport) -> str:
    """Return the load's result in one line, and a line for each kind of failure."""
    lines = [
        f"Stored {report.created:,}, unchanged {report.unchanged:,}, failed {report.failed:,} "
        f"in {report.seconds:.1f} s: {report.rate:,.0f} memories per second."
    ]
    lines += [
        f"  {count:,} failed ({code}): {report.examples[code]}"
        for code, count in report.problems.most_common()
    ]
    return "\n".join(lines)
