"""Identical questions under way share one call, and nothing else."""

import asyncio

import pytest

from app.context import set_deadline
from app.errors import DeadlineExceeded, StorageUnavailable
from app.read_path.single_flight import SingleFlightRecall
from app.read_path.versions import PartitionVersions
from tests.kit.fakes import FakeNode, answer_to, question, turned


def flight(node: FakeNode) -> tuple[SingleFlightRecall, PartitionVersions]:
    versions = PartitionVersions()
    return SingleFlightRecall(node, versions), versions


async def test_identical_questions_share_one_call() -> None:
    node = FakeNode()
    stage, _ = flight(node)
    node.gate.clear()
    asked = [question(0)] * 10 + [question(1)] * 5
    callers = [asyncio.create_task(stage.recall(q)) for q in asked]
    await turned()
    node.gate.set()
    assert await asyncio.gather(*callers) == [answer_to(q) for q in asked]
    assert len(node.batches) == 2
    await stage.recall(question(0))
    assert len(node.batches) == 3


async def test_caller_that_leaves_cancels_only_itself() -> None:
    node = FakeNode()
    stage, _ = flight(node)
    node.gate.clear()
    callers = [asyncio.create_task(stage.recall(question(0))) for _ in range(3)]
    await turned()
    callers[0].cancel()
    await turned()
    node.gate.set()
    assert [await caller for caller in callers[1:]] == [answer_to(question(0))] * 2
    assert callers[0].cancelled()
    assert len(node.batches) == 2, "one of those who joined asks anew, for both"


async def test_error_reaches_all_and_is_kept_for_none() -> None:
    node = FakeNode()
    stage, _ = flight(node)
    node.error = StorageUnavailable("gone")
    node.gate.clear()
    callers = [asyncio.create_task(stage.recall(question(0))) for _ in range(3)]
    await turned()
    node.gate.set()
    assert await asyncio.gather(*callers, return_exceptions=True) == [node.error] * 3
    assert len(node.batches) == 1
    node.error = None
    assert await stage.recall(question(0)) == answer_to(question(0))


async def test_question_after_a_write_joins_none_from_before() -> None:
    node = FakeNode()
    stage, versions = flight(node)
    node.gate.clear()
    before = asyncio.create_task(stage.recall(question(0)))
    await turned()
    versions.invalidate("a")
    after = asyncio.create_task(stage.recall(question(0)))
    await turned()
    assert len(node.batches) == 2
    node.gate.set()
    await asyncio.gather(before, after)


async def test_strong_joins_nothing() -> None:
    node = FakeNode()
    stage, _ = flight(node)
    strong = question(0, consistency="strong")
    await asyncio.gather(*(stage.recall(strong) for _ in range(3)))
    assert len(node.batches) == 3


async def test_deadline_of_the_first_caller_is_not_the_others() -> None:
    node = FakeNode()
    stage, _ = flight(node)
    node.gate.clear()
    node.error = DeadlineExceeded("the first caller's time is over")

    async def patient() -> object:
        set_deadline(after_ms=60_000)
        return await stage.recall(question(0))

    hurried = asyncio.create_task(stage.recall(question(0)))
    await turned()
    joined = asyncio.create_task(patient())
    await turned()
    node.gate.set()
    with pytest.raises(DeadlineExceeded):
        await hurried
    # The node still fails: what matters is that the patient caller asked for itself.
    with pytest.raises(DeadlineExceeded):
        await joined
    assert len(node.batches) == 2
