"""Figures for publication are taken on an idle machine, or not at all."""

import sys
import time

import psutil

from bench.progress import Say

BUSY_LOAD = 1.0
"""A run that begins above this load average is not published."""

SETTLE_S = 180.0
"""Longest wait for the load average of what ran before to fall."""


class MachineBusy(Exception):
    """The figures would be those of a busy machine."""


def wait_for_an_idle_machine(say: Say, *, wait_s: float = SETTLE_S) -> None:
    """Return when the load average allows publishing. Raises MachineBusy after `wait_s`."""
    give_up_at = time.monotonic() + wait_s
    while (load := psutil.getloadavg()[0]) > BUSY_LOAD:
        if time.monotonic() > give_up_at:
            raise MachineBusy(
                f"The load average is {load:.2f}, above {BUSY_LOAD:g}: nothing is measured for "
                "publication on a busy machine. End the other programs, or leave --publish out."
            )
        say(f"the load average is {load:.2f}: waiting until it is at most {BUSY_LOAD:g}")
        time.sleep(10)


def may_publish(say: Say) -> bool:
    """Wait for an idle machine. If it stays busy, print why and return False."""
    try:
        wait_for_an_idle_machine(say)
    except MachineBusy as error:
        print(error, file=sys.stderr)
        return False
    return True
