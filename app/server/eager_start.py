"""Starts a request at once, and makes a task of it only if it has to wait.

uvicorn creates a task for each request; its first step runs in the event loop's next turn. Most
requests wait once or never. Python's own `asyncio.Task(eager_start=True)` does the same, from 3.12
on. Until there is a task, a stand-in is the current one:
https://docs.python.org/3/library/asyncio-extending.html#task-lifetime-support
"""

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Coroutine, Generator
from contextvars import copy_context
from typing import Any

Request = Coroutine[Any, Any, None]


def start(request: Request, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None] | None:
    """Run a request to its first wait. Return the task that continues it, or None if it is done.

    Called by the event loop, outside any task.
    """
    context, stand_in = copy_context(), _StandIn()
    _enter_task(loop, stand_in)  # type: ignore[arg-type]
    try:
        waits_for = context.run(request.send, None)
    except StopIteration:
        return None
    finally:
        _leave_task(loop, stand_in)  # type: ignore[arg-type]
    task = loop.create_task(_Begun(request, waits_for), context=context)
    stand_in.make_way(task)
    return task


class _StandIn:
    """Hands what a time limit asks of its task to the task that follows."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def make_way(self, task: asyncio.Task[None]) -> None:
        """Name the task that follows."""
        self._task = task

    def cancel(self, msg: object = None) -> bool:
        """Cancel the task."""
        return self._task is not None and self._task.cancel(msg)

    def cancelling(self) -> int:
        """Return how many cancellations are pending."""
        return 0 if self._task is None else self._task.cancelling()

    def uncancel(self) -> int:
        """Withdraw a cancellation. Return how many are left."""
        return 0 if self._task is None else self._task.uncancel()


class _Begun(Coroutine[Any, Any, None]):
    """A request that waits already. The task's first step takes over what it waits for."""

    def __init__(self, request: Request, waits_for: Any) -> None:
        self._request = request
        self._waits_for = waits_for
        self._is_taken_over = False

    def send(self, value: None) -> Any:
        """Run the request to its next wait."""
        if self._is_taken_over:
            return self._request.send(value)
        self._is_taken_over = True
        return self._waits_for

    def throw(self, *error: Any) -> Any:
        """Raise an error where the request waits."""
        if not self._is_taken_over and self._waits_for is not None:
            self._waits_for.cancel()  # the task never waited for it
        self._is_taken_over = True
        return self._request.throw(*error)

    def close(self) -> None:
        """End the request: its task was dropped."""
        self._request.close()

    def __await__(self) -> Generator[Any, None, None]:
        """Refuse: only a task runs this."""
        raise NotImplementedError
