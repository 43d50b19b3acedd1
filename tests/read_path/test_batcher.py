"""Every question gets its own answer, however the batch fares."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from app.context import set_deadline
from app.errors import (
    DeadlineExceeded,
    MemoryServiceError,
    Overloaded,
    StorageFailed,
    StorageUnavailable,
)
from app.model import Answer, Question
from app.read_path.batcher import GATHERED_TURNS, BatchingRecall, Traffic
from tests.kit.fakes import FakeNode, ManualClock, answer_to, question, turned

FLIGHT_S = 100.0


def batching(node: Any, **limits: Any) -> BatchingRecall:
    defaults = {"window_ms": 10_000.0, "max_batch": 8, "max_in_flight": 1, "max_waiting": 100}
    return BatchingRecall(node, **(defaults | limits))


async def test_idle_question_leaves_at_once() -> None:
    node = FakeNode()
    assert await batching(node).recall(question(1)) == answer_to(question(1))
    assert [len(batch) for batch in node.batches] == [1]


async def test_questions_of_one_turn_leave_together() -> None:
    node = FakeNode()
    stage = batching(node, max_in_flight=2)
    node.gate.clear()
    alone = asyncio.create_task(stage.recall(question(9)))
    together = asyncio.gather(*(stage.recall(question(i)) for i in range(5)))
    await turned()
    assert [len(batch) for batch in node.batches] == [1, 5]
    node.gate.set()
    assert await together == [answer_to(question(i)) for i in range(5)]
    assert await alone == answer_to(question(9))


async def test_questions_gather_while_redis_is_busy_and_leave_when_it_is_free() -> None:
    node = FakeNode()
    stage = batching(node)
    node.gate.clear()
    first = asyncio.create_task(stage.recall(question(0)))
    await turned()
    later = [asyncio.create_task(stage.recall(question(i))) for i in range(1, 6)]
    await turned()
    assert [len(batch) for batch in node.batches] == [1]
    node.gate.set()
    assert await first == answer_to(question(0))
    assert await asyncio.gather(*later) == [answer_to(question(i)) for i in range(1, 6)]
    assert [len(batch) for batch in node.batches] == [1, 5]


async def test_window_bounds_the_wait() -> None:
    node = FakeNode()
    stage = batching(node, window_ms=5.0)
    node.gate.clear()
    waiting = [asyncio.create_task(stage.recall(question(0)))]
    await turned()
    waiting.append(asyncio.create_task(stage.recall(question(1))))
    async with asyncio.timeout(60):
        while len(node.batches) < 2:
            await asyncio.sleep(0.001)
    node.gate.set()
    await asyncio.gather(*waiting)
    assert [len(batch) for batch in node.batches] == [1, 1]


async def test_full_batch_does_not_wait() -> None:
    node = FakeNode()
    stage = batching(node, max_batch=3, window_ms=60_000.0)
    node.gate.clear()
    waiting = [asyncio.create_task(stage.recall(question(i))) for i in range(9)]
    async with asyncio.timeout(60):
        while len(node.batches) < 3:
            await asyncio.sleep(0.001)
    assert [len(batch) for batch in node.batches] == [1, 3, 3]
    node.gate.set()
    await asyncio.gather(*waiting)
    assert [len(batch) for batch in node.batches] == [1, 3, 3, 2]


async def test_one_bad_question_fails_alone() -> None:
    node = FakeNode()
    node.bad = {question(2)}
    stage = batching(node)
    outcomes = await asyncio.gather(
        *(stage.recall(question(i)) for i in range(4)), return_exceptions=True
    )
    assert isinstance(outcomes.pop(2), MemoryServiceError)
    assert outcomes == [answer_to(question(i)) for i in (0, 1, 3)]


async def test_error_of_the_node_reaches_everyone() -> None:
    node = FakeNode()
    node.error = StorageUnavailable("gone")
    stage = batching(node)
    outcomes = await asyncio.gather(
        *(stage.recall(question(i)) for i in range(4)), return_exceptions=True
    )
    assert outcomes == [node.error] * 4


class Miscounting(FakeNode):
    async def recall_many(self, questions: Sequence[Question]) -> list[Answer | MemoryServiceError]:
        return (await super().recall_many(questions))[:-1]


class Crashing(FakeNode):
    async def recall_many(self, questions: Sequence[Question]) -> list[Answer | MemoryServiceError]:
        await super().recall_many(questions)
        raise ZeroDivisionError


@pytest.mark.parametrize("node_type", [Miscounting, Crashing])
async def test_defect_below_fails_everyone_and_crosses_nothing(node_type: type[FakeNode]) -> None:
    node = node_type()
    stage = batching(node)
    node.gate.clear()
    callers = [asyncio.create_task(stage.recall(question(i))) for i in range(4)]
    await turned()
    node.gate.set()
    alone, *together = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(alone, ZeroDivisionError if node_type is Crashing else StorageFailed)
    assert [getattr(outcome, "code", None) for outcome in together] == ["storage_failed"] * 3


async def test_caller_that_leaves_takes_nobody_along() -> None:
    node = FakeNode()
    stage = batching(node)
    node.gate.clear()
    flying = asyncio.create_task(stage.recall(question(0)))
    await turned()
    waiting = [asyncio.create_task(stage.recall(question(i))) for i in range(1, 4)]
    await turned()
    flying.cancel()
    waiting[1].cancel()
    node.gate.set()
    assert await waiting[0] == answer_to(question(1))
    assert await waiting[2] == answer_to(question(3))
    assert [len(batch) for batch in node.batches] == [1, 2]


async def test_full_queue_refuses() -> None:
    node = FakeNode()
    stage = batching(node, max_waiting=6, max_batch=3)
    node.gate.clear()
    waiting = [asyncio.create_task(stage.recall(question(0)))]
    await turned()
    waiting += [asyncio.create_task(stage.recall(question(i))) for i in range(1, 6)]
    await turned()
    assert [len(batch) for batch in node.batches] == [1, 3]
    with pytest.raises(Overloaded) as caught:
        await stage.recall(question(6))
    assert caught.value.retry_after_s == 1
    node.gate.set()
    await asyncio.gather(*waiting)
    assert await stage.recall(question(6)) == answer_to(question(6))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """Flights take as long as it is told; deadlines are of the real time."""
    by_hand = ManualClock()
    monkeypatch.setattr("app.read_path.batcher.time", SimpleNamespace(monotonic=by_hand))
    return by_hand


async def fly(stage: BatchingRecall, node: FakeNode, clock: ManualClock, flights: int) -> None:
    """Ask one question after the other, each of which takes FLIGHT_S."""
    for i in range(flights):
        node.gate.clear()
        taking = asyncio.create_task(stage.recall(question(i)))
        await turned()
        clock.advance(FLIGHT_S)
        node.gate.set()
        await taking


async def test_many_round_trips_under_way_do_not_make_a_question_late(clock: ManualClock) -> None:
    node = FakeNode()
    stage = batching(node, max_batch=1)
    await fly(stage, node, clock, 20)
    node.gate.clear()
    flying = [asyncio.create_task(stage.recall(question(i))) for i in range(50, 60)]
    await turned()
    assert len(node.batches) >= 30

    async def unhurried() -> Answer:
        set_deadline(after_ms=FLIGHT_S * 1000 * 3)
        return await stage.recall(question(99))

    asked = asyncio.create_task(unhurried())
    await turned()
    node.gate.set()
    assert await asked == answer_to(question(99))
    await asyncio.gather(*flying)


async def test_end_of_service_answers_everyone() -> None:
    node = FakeNode()
    stage = batching(node)
    node.gate.clear()
    flying = asyncio.create_task(stage.recall(question(0)))
    await turned()
    waiting = asyncio.create_task(stage.recall(question(1)))
    await turned()
    closing = asyncio.create_task(stage.aclose())
    await turned()
    node.gate.set()
    await closing
    assert await flying == answer_to(question(0))
    for refused in (waiting, asyncio.create_task(stage.recall(question(2)))):
        with pytest.raises(Overloaded):
            await refused


async def test_question_that_would_come_too_late_is_refused_early(clock: ManualClock) -> None:
    node = FakeNode()
    stage = batching(node)
    await fly(stage, node, clock, 20)
    node.gate.clear()
    flying = asyncio.create_task(stage.recall(question(50)))
    await turned()

    async def hurried() -> Answer:
        set_deadline(after_ms=FLIGHT_S * 1000 / 3)
        return await stage.recall(question(51))

    with pytest.raises(DeadlineExceeded):
        await asyncio.create_task(hurried())
    node.gate.set()
    await flying


async def test_question_over_many_agents_keeps_no_one_waiting() -> None:
    node = FakeNode()
    stage = batching(node, max_in_flight=2)
    node.gate.clear()
    asked = [question(0), question(1, scope="all"), question(2), question(3)]
    callers = [asyncio.create_task(stage.recall(q)) for q in asked]
    await turned()
    assert sorted(len(batch) for batch in node.batches) == [1, 1, 2]
    node.gate.set()
    assert await asyncio.gather(*callers) == [answer_to(q) for q in asked]


async def test_wide_questions_under_way_do_not_refuse_the_others() -> None:
    node = FakeNode()
    stage = batching(node)
    node.gate.clear()
    wide = [asyncio.create_task(stage.recall(question(i, scope="all"))) for i in range(6)]
    await turned()
    assert len(node.batches) == 2, "two at a time"
    own = FakeNode()
    stage._following = own
    assert await stage.recall(question(99)) == answer_to(question(99))
    node.gate.set()
    await asyncio.gather(*wide)


async def test_gauge_of_those_who_wait_is_the_sum_over_all_batchers() -> None:
    """Each shard has one."""

    def shown() -> float:
        return REGISTRY.get_sample_value("memory_batch_waiting") or 0.0

    before = shown()
    nodes = [FakeNode(), FakeNode()]
    asked: list[asyncio.Task[Answer]] = []
    stages = [batching(node) for node in nodes]
    for node, stage, count in zip(nodes, stages, (2, 3), strict=True):
        node.gate.clear()
        asked.append(asyncio.create_task(stage.recall(question(0))))
        await turned()
        asked += [asyncio.create_task(stage.recall(question(i))) for i in range(count)]
        await turned()
    assert shown() - before == 5
    nodes[0].gate.set()
    await asyncio.gather(*asked[:3])
    assert shown() - before == 3
    closing = asyncio.create_task(stages[1].aclose())
    await turned()
    assert shown() == before
    nodes[1].gate.set()
    await closing
    await asyncio.gather(*asked[3:], return_exceptions=True)


async def asked_of_hanging_node(traffic: Traffic) -> tuple[FakeNode, asyncio.Task[Answer]]:
    """Return a node of another group that does not answer, and the question that waits for it."""
    hanging = FakeNode()
    hanging.gate.clear()
    other = asyncio.create_task(batching(hanging, traffic=traffic).recall(question(9)))
    await turned()
    return hanging, other


async def test_while_another_group_hangs_questions_of_several_turns_leave_together() -> None:
    traffic, node = Traffic(), FakeNode()
    hanging, other = await asked_of_hanging_node(traffic)
    stage = batching(node, traffic=traffic)
    asked = []
    for i in range(GATHERED_TURNS):
        asked.append(asyncio.create_task(stage.recall(question(i))))
        await asyncio.sleep(0)
    assert await asyncio.gather(*asked) == [answer_to(question(i)) for i in range(GATHERED_TURNS)]
    assert [len(batch) for batch in node.batches] == [GATHERED_TURNS]
    assert not other.done()
    hanging.gate.set()
    assert await other == answer_to(question(9))
    assert traffic.under_way == 0


async def test_a_full_batch_gathers_no_longer() -> None:
    """Whatever the other groups do: the second question fills it in the turn after the first."""
    traffic, node = Traffic(), FakeNode()
    hanging, other = await asked_of_hanging_node(traffic)
    stage = batching(node, traffic=traffic, max_batch=2)
    node.gate.clear()
    asked = [asyncio.create_task(stage.recall(question(i))) for i in range(2)]
    for _ in range(GATHERED_TURNS - 2):
        await asyncio.sleep(0)
    assert [len(batch) for batch in node.batches] == [2]
    node.gate.set()
    hanging.gate.set()
    await asyncio.gather(*asked, other)
