"""Approximate answers are compared with exact ones beside the requests, and never in their way."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client import REGISTRY

from app.errors import MemoryServiceError, StorageTimeout
from app.model import Answer, Hit, Question
from app.read_path import recall_guard
from app.read_path.recall_guard import (
    BUSY,
    FAILED_REST_S,
    EffortControl,
    EffortLimits,
    RecallGuard,
    recall_of,
)
from app.read_path.versions import PartitionVersions
from app.settings import Settings
from app.storage.index import SearchEffort
from tests.conftest import running_service
from tests.kit.fakes import FakeNode, ManualClock, SearchFakes, question, turned

TRUE = tuple(Hit(str(number).encode(), number / 10) for number in range(10))


class HalfBlindNode(FakeNode):
    """Finds every other true neighbour unless it is asked exactly."""

    async def recall_many(self, questions: Sequence[Question]) -> list[Answer | MemoryServiceError]:
        answers = await super().recall_many(questions)
        return [
            replace(answer, hits=TRUE if asked.exact else TRUE[::2], exact=asked.exact)
            if isinstance(answer, Answer)
            else answer
            for asked, answer in zip(questions, answers, strict=True)
        ]


class Guarded:
    """A guard that samples everything, before a node that is half blind."""

    def __init__(self, share: float = 1.0) -> None:
        self.served, self.master = HalfBlindNode(), HalfBlindNode()
        self.replicas: list[FakeNode] = []
        self.has_lease = True
        self.clock, self.versions = ManualClock(), PartitionVersions()
        self.control = EffortControl(
            "episodic",
            SearchEffort(),
            floor=10,
            limits=EffortLimits(target=0.98, ceiling=500, budget_ms=5),
        )
        self.guard = RecallGuard(
            self.served,
            lambda _: self,
            SearchFakes(),
            self.versions,
            {"episodic": self.control, "semantic": self.control},
            layout="per_agent",
            share=share,
            processes=1,
            timeout_s=5,
            clock=self.clock,
        )
        self.before = {outcome: self.count(outcome) for outcome in OUTCOMES}

    def count(self, outcome: str) -> float:
        labels = {"index_kind": "episodic", "outcome": outcome}
        return REGISTRY.get_sample_value("memory_recall_samples_total", labels) or 0.0

    async def ask(self, number: int = 0, **fields: Any) -> Answer:
        answer = await self.guard.recall(question(number, **fields))
        await turned()
        return answer

    @property
    def outcomes(self) -> dict[str, float]:
        counts = {name: self.count(name) - before for name, before in self.before.items()}
        return {name: count for name, count in counts.items() if count}


OUTCOMES = ("compared", "dropped", "moved", "failed")


async def test_an_approximate_answer_is_compared_on_one_node_at_one_moment() -> None:
    guarded = Guarded()
    answer = await guarded.ask(5, include_vectors=True, consistency="strong")
    assert answer.hits == TRUE[::2]
    plain = question(5)
    assert guarded.master.batches == [[plain], [plain, replace(plain, exact=True)]]
    assert guarded.control.figures.recall_at_k == 0.5
    assert guarded.outcomes == {"compared": 1}
    labels = {"index_kind": "episodic"}
    assert REGISTRY.get_sample_value("memory_recall_at_k", labels) == 0.5


async def test_replicas_in_rotation_are_asked_before_the_master() -> None:
    guarded = Guarded()
    guarded.replicas = [HalfBlindNode("replica-1"), HalfBlindNode("replica-2")]
    guarded.replicas[0].status = replace(guarded.replicas[0].status, in_rotation=False)
    await guarded.ask()
    assert [len(node.batches) for node in (guarded.master, *guarded.replicas)] == [0, 0, 2]


async def test_exact_answers_and_questions_over_many_indexes_are_left_alone() -> None:
    guarded = Guarded()
    await guarded.ask(1, exact=True)
    await guarded.ask(2, scope="all")
    assert guarded.master.batches == []
    nothing = Guarded(share=1e-9)
    await nothing.ask(3)
    assert nothing.master.batches == []


async def test_one_sample_at_a_time_and_a_rest_after_each() -> None:
    guarded = Guarded()
    guarded.master.gate.clear()
    await guarded.ask(1)
    await guarded.ask(2)
    assert guarded.outcomes == {"dropped": 1}
    guarded.clock.advance(0.1)
    guarded.master.gate.set()
    await turned()
    assert guarded.outcomes == {"dropped": 1, "compared": 1}
    await guarded.ask(3)
    guarded.clock.advance(4.9)
    await guarded.ask(4)
    assert guarded.outcomes == {"dropped": 3, "compared": 1}
    guarded.clock.advance(0.2)
    await guarded.ask(5)
    assert guarded.outcomes == {"dropped": 3, "compared": 2}


async def test_no_sample_while_the_service_is_busy() -> None:
    guarded = Guarded()
    guarded.served.gate.clear()
    under_way = [asyncio.create_task(guarded.ask(number)) for number in range(BUSY + 1)]
    await turned()
    others = HalfBlindNode()
    guarded.guard._following = others
    await guarded.ask(99)
    assert guarded.master.batches == []
    assert guarded.outcomes == {"dropped": 1}
    guarded.served.gate.set()
    await asyncio.gather(*under_way)


async def test_a_write_in_between_spoils_no_figure() -> None:
    guarded = Guarded()
    guarded.master.gate.clear()
    await guarded.ask(1)
    guarded.versions.invalidate("a")
    guarded.master.gate.set()
    await turned()
    assert guarded.outcomes == {"moved": 1}
    assert guarded.control.figures.samples == 0


async def test_a_failing_node_is_not_asked_again_at_once() -> None:
    guarded = Guarded()
    guarded.master.error = StorageTimeout("no answer")
    assert (await guarded.ask(1)).hits == TRUE[::2]
    guarded.clock.advance(FAILED_REST_S - 1)
    await guarded.ask(2)
    assert guarded.outcomes == {"failed": 1, "dropped": 1}


async def test_its_end_does_not_wait_for_a_sample() -> None:
    guarded = Guarded()
    guarded.master.gate.clear()
    await guarded.ask(1)
    async with asyncio.timeout(60):
        await guarded.guard.aclose()
    assert guarded.outcomes == {}
    guarded.clock.advance(100)
    await guarded.ask(2)
    assert len(guarded.master.batches) == 1


def test_an_equally_near_memory_is_as_good_as_the_true_one() -> None:
    true = Answer(tuple(Hit(b"%d" % i, 0.1) for i in range(3)), True, False, "master")
    twins = Answer(tuple(Hit(b"x%d" % i, 0.1000001) for i in range(3)), False, False, "master")
    assert recall_of(twins, true) == 1.0
    further = replace(twins, hits=(*twins.hits[:2], Hit(b"y", 0.2)))
    assert recall_of(further, true) == pytest.approx(2 / 3)


DIMENSION = 64
CONCEPTS = 1200


@pytest.fixture
def _no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall_guard, "REST_FACTOR", 0)


@pytest.mark.usefixtures("_no_rest")
@pytest.mark.parametrize("vector_type", ["float32", "float16"])
async def test_a_hopeless_index_climbs_to_the_target(settings: Settings, vector_type: str) -> None:
    """Random vectors and the specification's EF_RUNTIME 20: the guard finds out, and mends it."""
    rng = np.random.default_rng(3)

    def vector() -> list[float]:
        return [float(x) for x in rng.normal(size=DIMENSION)]

    def concept(number: int) -> dict[str, Any]:
        return {
            "id": f"c{number}",
            "memory_type": "PATTERN",
            "regime_name": "r",
            "concept_vector": vector(),
            "sharpe_ratio": 1.0,
            "win_rate": 0.5,
        }

    chosen = settings.model_copy(
        update={
            "dimension": DIMENSION,
            "vector_type": vector_type,
            "recall_sample_share": 1.0,
            "recall_latency_budget_ms": 10_000.0,
            "cache_enabled": False,
            # Folding counters moves the memory, and samples of that moment do not count.
            "access_fold_interval_s": 3600.0,
        }
    )
    async with running_service(chosen) as api:
        for start in range(0, CONCEPTS, 300):
            batch = [concept(start + i) for i in range(300)]
            answer = await api.post("/v1/semantic/batch", json={"memories": batch})
            assert answer.json()["created"] == 300

        async def known() -> dict[str, Any]:
            kinds = (await api.get("/v1/stats")).json()["recall"]
            found: dict[str, Any]
            (found,) = [kind for kind in kinds if kind["index_kind"] == "semantic"]
            return found

        async def ask() -> None:
            body = {"concept_vector": vector(), "top_k": 10}
            answer: httpx.Response = await api.post("/v1/semantic/search", json=body)
            assert answer.json()["exact"] is False

        assert await known() == {
            "index_kind": "semantic",
            "ef_runtime": 20,
            "recall_at_k": None,
            "latency_ms": None,
            "samples": 0,
            "bound_by": "too_few_samples",
        }
        lowest = 1.0
        async with asyncio.timeout(200):
            while (found := await known())["bound_by"] != "recall_target":
                lowest = min(lowest, found["recall_at_k"] or 1.0)
                for _ in range(10):
                    await ask()
        assert lowest < 0.98
        assert found["ef_runtime"] > 20
        assert found["recall_at_k"] >= 0.98
        metrics = (await api.get("/metrics")).text
        assert f'memory_ef_runtime{{index_kind="semantic"}} {found["ef_runtime"]}' in metrics
