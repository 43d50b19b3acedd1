"""Waits for an evaluation."""

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from coinswarm_memory._sync.caller import Caller
from coinswarm_memory._sync.wire import sleep
from coinswarm_memory.answers.verdicts import Evaluation
from coinswarm_memory.errors import CallTimedOut
from coinswarm_memory.operations import verdicts
from coinswarm_memory.operations.problem import Problem, error_from

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0


def evaluated(caller: Caller, wanted: Mapping[str, Any], timeout_s: float) -> Evaluation:
    """Start an evaluation and return it once it is finished.

    Cancels it and raises CallTimedOut if it is not finished in time. Raises the problem of one that
    failed.
    """
    ends_at = time.monotonic() + timeout_s
    found = caller.call(verdicts.start_evaluation(wanted))
    pause_s = FIRST_PAUSE_S
    while not found.is_finished:
        if time.monotonic() > ends_at:
            caller.call(verdicts.cancel_evaluation(found.id))
            raise CallTimedOut(f"The evaluation is not finished within {timeout_s:.3g} s.")
        sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        found = caller.call(verdicts.evaluation(found.id))
    if found.problem is not None:
        raise error_from(msgspec.convert(found.problem, Problem))
    return found
