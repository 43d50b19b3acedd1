"""What goes out behind a write at each level, and when it is enough."""

from dataclasses import replace
from typing import Any

import pytest

from app.context import Durability
from app.errors import DurabilityNotReached
from app.nodes.writes import MARGIN_MS, Wait, Waiting

WAITING = Waiting(replicas=1, fsynced_replicas=1, timeout_ms=3000, remaining_s=lambda: None)


def wait_for(level: Durability, candidates: int, **fields: Any) -> Wait:
    wait = replace(WAITING, **fields).wait(level, candidates)
    assert wait is not None
    return wait


def test_nothing_is_waited_for_at_memory() -> None:
    assert WAITING.wait("memory", 2) is None


@pytest.mark.parametrize(
    ("level", "candidates", "commands"),
    [
        ("replicated", 0, [("WAIT", 1, 3000)]),
        ("replicated", 1, [("WAIT", 1, 3000)]),
        ("replicated", 3, [("WAIT", 3, 500)]),
        ("fsynced", 1, [("WAITAOF", 1, 1, 2500)]),
        ("fsynced", 3, [("WAITAOF", 1, 1, 2500), ("WAIT", 3, 500)]),
    ],
)
def test_every_candidate_must_have_received_it(
    level: Durability, candidates: int, commands: list[tuple[str | int, ...]]
) -> None:
    assert wait_for(level, candidates).commands == commands


@pytest.mark.parametrize(
    ("wait", "enough", "too_little"),
    [
        (wait_for("replicated", 2), [[2], [3]], [[1], [ValueError()]]),
        (wait_for("fsynced", 1), [[(1, 1)]], [[(0, 1)], [(1, 0)], [ValueError()]]),
        # A replica that has it, but not yet on its disk, as after a full copy, is no obstacle.
        (wait_for("fsynced", 2), [[(1, 1), 2]], [[(1, 1), 1], [(1, 0), 2], [(1, 1), ValueError()]]),
    ],
)
def test_replies_are_enough_or_say_what_is_missing(
    wait: Wait, enough: list[list[Any]], too_little: list[list[Any]]
) -> None:
    for replies in enough:
        wait.check(replies)
    for replies in too_little:
        with pytest.raises(DurabilityNotReached, match=f"it is not {wait.level}"):
            wait.check(replies)


def test_later_waits_ask_for_those_that_are_left_within_the_time() -> None:
    first = wait_for("replicated", 3)
    second = WAITING.longer(first, 2)
    third = WAITING.longer(second, 1)
    assert [(w.received, w.timeout_ms, w.more_ms) for w in (first, second, third)] == [
        (3, 500, 2500),
        (2, 500, 2000),
        (1, 2000, 0),
    ]
    assert WAITING.in_one_piece(2).commands == [("WAIT", 2, 3000)]


def test_time_is_what_the_request_has_left() -> None:
    left = wait_for("fsynced", 2, remaining_s=lambda: (400 + MARGIN_MS) / 1000)
    assert left.commands == [("WAITAOF", 1, 1, 200), ("WAIT", 2, 200)]
    assert wait_for("replicated", 2, remaining_s=lambda: 0.001).timeout_ms == 1
