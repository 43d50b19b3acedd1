"""Accepts connections for one of several workers that share a listener.

The event loop accepts until nobody waits: a worker that wakes first takes every connection of a
burst, and keeps them, because callers keep connections open: of 50 connections at once, one of two
workers got nearly all. Here a worker waits before it accepts, and the more it holds the longer, so
that another one with fewer is first.
"""

import asyncio
import logging
import socket
from collections.abc import Callable

logger = logging.getLogger(__name__)

REST_S = 1.0
"""After an error such as too many open files."""
STEP_S = 0.001
HELD_A_STEP = 4
ACCEPTED_A_STEP = 2
"""After a wait, so that 2,000 new connections a second are accepted however many are held."""
MOST_STEPS = 5


class Acceptor:
    """Listens until it is closed, in place of an asyncio.Server. `held` says how many are open."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        make_protocol: Callable[[], asyncio.Protocol],
        held: Callable[[], int],
    ) -> None:
        self._listener = listener
        self._make_protocol = make_protocol
        self._held = held
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.TimerHandle | None = None
        self._connecting: set[asyncio.Task[object]] = set()

    def listen(self, backlog: int) -> None:
        """Begin to accept."""
        self._listener.setblocking(False)
        self._listener.listen(backlog)
        self._watch()

    def close(self) -> None:
        """Accept no more."""
        if self._waiting is not None:
            self._waiting.cancel()
        self._loop.remove_reader(self._listener)

    async def wait_closed(self) -> None:
        """Wait for connections that are being set up."""
        if self._connecting:
            await asyncio.wait(self._connecting)

    def _watch(self) -> None:
        self._loop.add_reader(self._listener, self._begin)

    def _begin(self) -> None:
        """Accept a connection, at once or, if many are held, after others had time to do so."""
        steps = min(self._held() // HELD_A_STEP, MOST_STEPS)
        if steps:
            self._wait(steps * STEP_S, lambda: self._accept_some(steps * ACCEPTED_A_STEP))
        else:
            self._accept_some(1)

    def _wait(self, wait_s: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._listener)
        self._waiting = self._loop.call_later(wait_s, self._waited, then)

    def _waited(self, then: Callable[[], None]) -> None:
        self._waiting = None
        self._watch()
        then()

    def _accept_some(self, most: int) -> None:
        for _ in range(most):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return  # another worker was faster, or the caller left
            except OSError:
                logger.exception("connections cannot be accepted")
                self._wait(REST_S, lambda: None)
                return
            connection.setblocking(False)
            task = self._loop.create_task(
                self._loop.connect_accepted_socket(self._make_protocol, connection)
            )
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)
