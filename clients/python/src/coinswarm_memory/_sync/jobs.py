"""Waits for work that the service does in the background."""

import time
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from coinswarm_memory._sync.caller import Caller
from coinswarm_memory._sync.wire import sleep
from coinswarm_memory.answers.jobs import AskedJob
from coinswarm_memory.errors import CallTimedOut
from coinswarm_memory.operations.jobs import Jobs
from coinswarm_memory.operations.problem import Problem, error_from

J = TypeVar("J", bound=AskedJob)

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0


def finished(
    caller: Caller,
    jobs: Jobs[J],
    wanted: Mapping[str, Any],
    timeout_s: float,
    as_of: float | None = None,
) -> J:
    """Start a job and return it once it is finished. `as_of`: the moment that it is asked for.

    Cancels it and raises CallTimedOut if it is not finished in time. Raises the problem of one that
    failed.
    """
    ends_at = time.monotonic() + timeout_s
    found = caller.call(jobs.start(wanted))
    pause_s = FIRST_PAUSE_S
    while not found.is_finished:
        if time.monotonic() > ends_at:
            caller.call(jobs.delete(found.id))
            raise CallTimedOut(f"The {jobs.called} is not finished within {timeout_s:.3g} s.")
        sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        found = caller.call(jobs.find(found.id, as_of))
    if found.problem is not None:
        raise error_from(msgspec.convert(found.problem, Problem))
    return found
