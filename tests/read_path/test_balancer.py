"""Who is asked, who is not, and who comes next."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from app.errors import MemoryServiceError, StorageTimeout, StorageUnavailable, TokenUnknown
from app.model import Answer
from app.read_path.balancer import BalancedRecall
from app.read_path.batcher import BatchingRecall, ByConsistency
from app.read_path.breaker import BreakerLimits, Breakers
from app.read_path.versions import PartitionVersions
from tests.kit.fakes import FakeNode, SearchFakes, question

LIMITS = BreakerLimits(failures=3, slow_ms=1000, slow_share=1, window=100, open_s=60)
TOKEN = f"{'r' * 40}:100"


PATIENT_S = 2.0
"""How long a master that hangs is waited for where something else must come first."""


class Swarm:
    """A master, two replicas and the balancer before them."""

    def __init__(self, *, master_timeout_s: float = 0.1) -> None:
        self.master = FakeNode("master")
        self.replicas = [FakeNode("replica-1"), FakeNode("replica-2")]
        self.has_lease = True
        self.versions = PartitionVersions()
        self.balancer = BalancedRecall(
            self,
            SearchFakes(),
            Breakers(LIMITS),
            self.versions,
            replica_timeout_s=0.05,
            master_timeout_s=master_timeout_s,
        )

    def set_replicas(self, **fields: Any) -> None:
        for replica in self.replicas:
            replica.status = replace(replica.status, **fields)

    async def outcome(self, **fields: Any) -> Answer | MemoryServiceError:
        (outcome,) = await self.balancer.recall_many([question(0, **fields)])
        return outcome

    async def served_by(self, **fields: Any) -> str:
        outcome = await self.outcome(**fields)
        assert isinstance(outcome, Answer), outcome
        return outcome.served_by


async def test_reads_spread_over_replicas_in_rotation() -> None:
    swarm = Swarm()
    assert {await swarm.served_by() for _ in range(50)} == {"replica-1", "replica-2"}
    answer = await swarm.outcome()
    assert isinstance(answer, Answer)
    assert not answer.may_lag
    swarm.replicas[0].status = replace(swarm.replicas[0].status, in_rotation=False)
    assert {await swarm.served_by() for _ in range(20)} == {"replica-2"}
    swarm.set_replicas(in_rotation=False)
    assert {await swarm.served_by() for _ in range(20)} == {"master"}


async def test_strong_asks_the_master() -> None:
    assert await Swarm().served_by(consistency="strong") == "master"


async def test_master_that_hangs_is_passed_over_while_a_replica_answers() -> None:
    swarm = Swarm()
    swarm.set_replicas(in_rotation=False)
    swarm.master.gate.clear()
    assert await swarm.served_by() in {"replica-1", "replica-2"}


async def test_master_that_missed_a_look_is_spared_by_who_has_all_that_it_had() -> None:
    swarm = Swarm()
    swarm.versions.invalidate("a")  # after the replicas were last seen to have caught up
    swarm.set_replicas(caught_up_at_s=0.0)
    assert await swarm.served_by() == "master"
    swarm.master.status = replace(swarm.master.status, problem="does not answer")
    answer = await swarm.outcome()
    assert isinstance(answer, Answer)
    assert answer.served_by in {"replica-1", "replica-2"}
    assert answer.may_lag
    swarm.replicas[0].status = replace(swarm.replicas[0].status, offset=99)
    assert {await swarm.served_by() for _ in range(20)} == {"replica-2"}
    swarm.set_replicas(offset=99)
    assert await swarm.served_by() == "master"
    swarm.set_replicas(offset=100, replication_id="o" * 40)
    assert await swarm.served_by() == "master"
    swarm.set_replicas(replication_id="r" * 40, in_rotation=False)
    assert await swarm.served_by() == "master"


async def test_read_leaves_a_hanging_master_when_it_is_told_to() -> None:
    swarm = Swarm(master_timeout_s=PATIENT_S)
    swarm.set_replicas(in_rotation=False)
    swarm.master.gate.clear()
    eventual = asyncio.create_task(swarm.outcome())
    strong = asyncio.create_task(swarm.outcome(consistency="strong"))
    await asyncio.sleep(0)
    (limit,) = swarm.master.reads
    limit.reschedule(asyncio.get_running_loop().time())
    answer = await eventual
    assert isinstance(answer, Answer)
    assert answer.served_by in {"replica-1", "replica-2"}
    assert not strong.done()
    assert isinstance(await strong, StorageTimeout)
    assert swarm.master.reads == set()


async def test_who_waits_for_a_hanging_master_holds_up_nobody_else() -> None:
    swarm = Swarm(master_timeout_s=PATIENT_S)
    swarm.master.gate.clear()
    limits = {"window_ms": 1000.0, "max_batch": 8, "max_in_flight": 1, "max_waiting": 100}
    lanes = [BatchingRecall(swarm.balancer, **limits) for _ in range(2)]  # type: ignore[arg-type]
    recall = ByConsistency(*lanes)
    strong = asyncio.create_task(recall.recall(question(0, consistency="strong")))
    await asyncio.sleep(0)
    assert (await recall.recall(question(1))).served_by in {"replica-1", "replica-2"}
    assert not strong.done()
    with pytest.raises(StorageTimeout):
        await strong
    for lane in lanes:
        await lane.aclose()


async def test_strong_never_falls_back_to_a_replica() -> None:
    swarm = Swarm()
    swarm.master.error = StorageUnavailable("gone")
    assert await swarm.outcome(consistency="strong") == swarm.master.error


async def test_strong_is_refused_while_another_node_may_be_the_master() -> None:
    swarm = Swarm()
    swarm.has_lease = False
    outcome = await swarm.outcome(consistency="strong")
    assert isinstance(outcome, StorageUnavailable)
    assert outcome.retryable
    swarm.set_replicas(in_rotation=False)
    assert await swarm.served_by() == "master"


async def test_token_is_served_by_a_node_that_has_reached_it() -> None:
    swarm = Swarm()
    swarm.replicas[0].status = replace(swarm.replicas[0].status, offset=99)
    assert {await swarm.served_by(consistency=TOKEN) for _ in range(20)} == {"replica-2"}
    swarm.set_replicas(offset=99)
    assert await swarm.served_by(consistency=TOKEN) == "master"


async def test_token_of_another_history_is_refused() -> None:
    assert isinstance(await Swarm().outcome(consistency=f"{'x' * 40}:1"), TokenUnknown)


async def test_token_from_before_a_failover_is_known() -> None:
    swarm = Swarm()
    swarm.set_replicas(in_rotation=False)
    swarm.master.status = replace(swarm.master.status, previous_id="o" * 40, previous_id_until=50)
    assert await swarm.served_by(consistency=f"{'o' * 40}:50") == "master"
    assert isinstance(await swarm.outcome(consistency=f"{'o' * 40}:51"), TokenUnknown)


async def test_write_sends_its_agents_reads_to_the_master_until_replicas_have_it() -> None:
    swarm = Swarm()
    swarm.versions.invalidate("a")
    written_at_s = swarm.versions.moved_at_s(question(0))
    swarm.set_replicas(caught_up_at_s=written_at_s - 0.001)
    assert await swarm.served_by() == "master"
    assert (await swarm.served_by(agent_id="b")).startswith("replica")
    swarm.set_replicas(caught_up_at_s=written_at_s + 0.001)
    assert (await swarm.served_by()).startswith("replica")


async def test_failing_replica_costs_no_answer_and_is_left_alone() -> None:
    swarm = Swarm()
    swarm.replicas[0].error = StorageUnavailable("gone")
    assert {await swarm.served_by() for _ in range(60)} <= {"replica-2", "master"}
    assert len(swarm.replicas[0].batches) == LIMITS.failures


async def test_replica_that_hangs_is_given_up() -> None:
    swarm = Swarm()
    for replica in swarm.replicas:
        replica.gate.clear()
    assert await swarm.served_by() == "master"


async def test_dead_master_leaves_reads_to_replicas_out_of_rotation() -> None:
    swarm = Swarm()
    swarm.set_replicas(in_rotation=False)
    swarm.master.error = StorageUnavailable("gone")
    assert (await swarm.served_by()).startswith("replica")


async def test_nobody_answers() -> None:
    swarm = Swarm()
    for node in (swarm.master, *swarm.replicas):
        node.error = StorageUnavailable("gone")
    outcome = await swarm.outcome()
    assert isinstance(outcome, StorageUnavailable)
    for _ in range(20):
        await swarm.outcome()
    asked = len(swarm.master.batches)
    outcome = await swarm.outcome()
    assert isinstance(outcome, MemoryServiceError)
    assert outcome.status == 503
    assert outcome.retry_after_s
    assert len(swarm.master.batches) == asked, "all breakers open: refused at once"


async def test_questions_of_a_batch_stay_apart() -> None:
    swarm = Swarm()
    swarm.versions.invalidate("b")
    swarm.set_replicas(caught_up_at_s=1.0)
    asked = [
        question(i, agent_id="ab"[i % 2], consistency="strong" if i % 3 == 0 else "eventual")
        for i in range(12)
    ]
    outcomes = await swarm.balancer.recall_many(asked)
    for sent, outcome in zip(asked, outcomes, strict=True):
        assert isinstance(outcome, Answer)
        assert outcome.hits[0].record == sent.vector
        needs_master = sent.consistency == "strong" or sent.agent_id == "b"
        assert (outcome.served_by == "master") == needs_master


@pytest.mark.parametrize("is_up", [True, False])
async def test_node_that_is_down_is_not_asked(is_up: bool) -> None:
    swarm = Swarm()
    swarm.set_replicas(is_up=is_up)
    assert (await swarm.served_by() == "master") != is_up
