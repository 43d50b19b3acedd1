"""Runs the load with a progress bar, ends it cleanly on Ctrl-C, and says what became of it."""

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from demo.episodes import agent_batches
from demo.loader import Loader, LoadError, LoadReport
from demo.market import Windows

_ATTEMPTS = 8


@contextmanager
def _interrupt(on_interrupt: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C calls `on_interrupt`, a second one ends the program as usual."""
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
    client: httpx.AsyncClient, stored: Windows, *, batch: int, in_flight: int
) -> tuple[LoadReport, str | None]:
    """Store the moments with a progress bar; the report, and why it ended early if it did."""
    from tqdm import tqdm  # noqa: PLC0415 - only `make demo` installs it

    stop = asyncio.Event()
    interrupted = False
    # In a file or a CI log each refresh is a line of its own.
    seconds = 0.2 if sys.stderr.isatty() else 10.0
    with tqdm(
        total=len(stored), desc="Storing", unit=" memories", mininterval=seconds, smoothing=0.1
    ) as bar:

        def on_interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            stop.set()
            bar.write("Ctrl-C: finishing the batches under way (again: drop them) ...", sys.stderr)

        loader = Loader(
            client, in_flight=in_flight, attempts=_ATTEMPTS, stop=stop, on_progress=bar.update
        )
        with _interrupt(on_interrupt):
            try:
                await loader.run(agent_batches(stored, batch))
            except LoadError as error:
                return loader.report, str(error)
    return loader.report, "interrupted" if interrupted else None


def summary(report: LoadReport) -> str:
    """What became of the load in one line, and a line for each reason of a failure."""
    lines = [
        f"Stored {report.created:,}, unchanged {report.unchanged:,}, failed {report.failed:,} "
        f"in {report.seconds:.1f} s: {report.rate:,.0f} memories per second."
    ]
    lines += [f"  {count:,} failed: {reason}" for reason, count in report.problems.most_common(3)]
    return "\n".join(lines)
