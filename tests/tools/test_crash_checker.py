"""The checker of the crash test finds what it is there to find."""

from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from tools.crash.audit import Losses
from tools.crash.faults import Done, Fault
from tools.crash.ledger import (
    LACKS,
    LACKS_OUTCOME,
    SHOWS_DELETED,
    AgentLedger,
    Asked,
    Consistency,
    Finding,
)
from tools.crash.load import Level, Load
from tools.crash.memories import DIMENSION, Memory
from tools.crash.verdict import Verdict, judge

CONFIRMED_AT, ASKED_AT = 10.0, 20.0


@pytest.fixture
def load() -> Load:
    """Two agents; the first has five confirmed memories."""
    load = Load(["http://127.0.0.1:1"], seed=1, shards=["", ""], readers=0, levels=("replicated",))
    ledger = load.ledgers[0]
    for _ in range(5):
        memory = ledger.new()
        memory_id = memory.id or "made"
        ledger.confirmed(memory, CONFIRMED_AT, by=0, memory_id=memory_id, token="t:1")
    return load


def asked(ledger: AgentLedger, consistency: Consistency = "strong", top_k: int = 10) -> Asked:
    return Asked(ledger.agent, consistency, ASKED_AT, 0, ledger.memories[0].vector, top_k)


def hit(memory: Memory, question: Asked) -> dict[str, Any]:
    cosine = np.dot(memory.vector, question.vector) / (
        np.linalg.norm(memory.vector) * np.linalg.norm(question.vector)
    )
    return {
        "id": memory.id,
        "agent_id": memory.agent,
        "reward": memory.reward,
        "distance": float(1 - cosine),
        **memory.shown,
    }


def true_answer(ledger: AgentLedger, question: Asked) -> dict[str, Any]:
    hits = sorted((hit(m, question) for m in ledger.memories), key=lambda h: h["distance"])
    hits = hits[: question.top_k]
    return {"memories": hits, "count": len(hits), "partial": False, "served_by": "master"}


def kinds(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(finding.kind, finding.what.partition(":")[0]) for finding in findings}


@pytest.mark.parametrize("top_k", [1, 3, 10])
def test_true_answer_is_true(load: Load, top_k: int) -> None:
    ledger = load.ledgers[0]
    question = asked(ledger, top_k=top_k)
    assert ledger.check_search(question, true_answer(ledger, question)) == []


def test_each_falsehood_is_found(load: Load) -> None:
    ledger = load.ledgers[0]
    question = asked(ledger)

    def found(change: Any) -> set[tuple[str, str]]:
        answer = true_answer(ledger, question)
        change(answer, answer["memories"])
        answer["count"] = len(answer["memories"])
        return kinds(ledger.check_search(question, answer))

    assert found(lambda _, hits: hits[0].update(agent_id="agent_1")) >= {
        ("false", "another agent's memory")
    }
    assert found(lambda _, hits: hits[0].update(metadata={"n": 99})) >= {("false", "never sent")}
    assert found(lambda _, hits: hits[0].update(regime="x")) == {("false", "another record")}
    assert found(lambda _, hits: hits[0].update(reward=77.0)) == {("false", "another record")}
    assert found(lambda _, hits: hits.reverse()) == {("false", "wrong order")}
    assert found(lambda _, hits: hits[0].update(distance=-0.5)) == {("false", "wrong distance")}
    assert found(lambda _, hits: hits.insert(0, hits[0])) == {("false", "doubled in one answer")}
    assert found(lambda _, hits: hits.pop(2)) == {("behind", "lacks a memory")}
    assert found(lambda answer, _: answer.update(partial=True)) == {
        ("false", "wrong count, or partial")
    }


def test_lack_of_a_nearer_memory_is_found_in_a_full_answer(load: Load) -> None:
    ledger = load.ledgers[0]
    question = asked(ledger, top_k=3)
    answer = true_answer(ledger, asked(ledger, top_k=4))
    del answer["memories"][1]
    answer["count"] = 3
    assert kinds(ledger.check_search(question, answer)) == {("behind", "lacks a memory")}


def test_unconfirmed_and_deleted_memories_may_lack(load: Load) -> None:
    ledger = load.ledgers[0]
    question = asked(ledger)
    before = true_answer(ledger, question)
    ledger.new()
    assert ledger.check_search(question, before) == []
    without = true_answer(ledger, question)
    without["memories"] = [h for h in without["memories"] if h["metadata"]["n"] not in {1, 5}]
    without["count"] = 4
    assert kinds(ledger.check_search(question, without)) == {("behind", "lacks a memory")}
    ledger.deleting(ledger.memories[1], ASKED_AT + 1)
    assert ledger.check_search(question, without) == []
    ledger.memories[1].deleted_at = ASKED_AT - 1
    assert kinds(ledger.check_search(question, before)) == {("behind", "shows a deleted memory")}


def test_lack_of_an_outcome_is_found(load: Load) -> None:
    ledger = load.ledgers[0]
    question = asked(ledger)
    memory = ledger.memories[0]
    assert memory.is_open
    memory.outcome_sent_at = memory.outcome_at = CONFIRMED_AT
    answer = true_answer(ledger, question)
    assert kinds(ledger.check_search(question, answer)) == {("behind", "lacks an outcome")}
    for shown in answer["memories"]:
        if shown["metadata"]["n"] == 0:
            shown["reward"] = memory.outcome
    assert ledger.check_search(question, answer) == []


def test_second_id_for_one_store_is_noticed(load: Load) -> None:
    ledger = load.ledgers[0]
    ledger.confirmed(ledger.memories[3], ASKED_AT, by=0, memory_id="another", token="t:2")
    assert ledger.memories[3].other_ids == {"another"}
    assert ledger.memories[3].confirmed_at == CONFIRMED_AT


def verdict(load: Load, losses: Losses, *faults: Done, level: Level = "replicated") -> Verdict:
    load.levels, load.level_of = (level,), dict.fromkeys(load.level_of, level)
    return judge(load, losses, faults, [], is_single_fault=True)


def counts(verdict: Verdict, *what: str) -> tuple[int, ...]:
    return tuple(map(verdict.total, what))


def behind(load: Load, consistency: Consistency) -> Finding:
    question = asked(load.ledgers[0], consistency)
    return Finding("behind", LACKS, "agent_0", 2, question)


def test_answer_without_a_confirmed_memory_is_wrong_unless_the_contract_allows_it(
    load: Load,
) -> None:
    fault = Done(
        Fault("kill", "master", 1.0, 0.0),
        "redis-master",
        ASKED_AT - 1,
        ASKED_AT,
        whole_at=ASKED_AT + 1,
    )
    load.findings = [behind(load, "strong"), behind(load, "token")]
    assert counts(verdict(load, Losses(), fault), "wrong") == (2,)
    load.findings = [behind(load, "eventual")]
    assert counts(verdict(load, Losses()), "wrong") == (1,), "the service itself had confirmed it"
    judged = verdict(load, Losses(), fault)
    assert (*counts(judged, "wrong", "behind"), judged.broken) == (0, 1, ())
    load.ledgers[0].memories[2].changed_by = 1
    assert counts(verdict(load, Losses()), "wrong") == (1,), "for too long"
    load.ledgers[0].memories[2].confirmed_at = ASKED_AT - 0.1
    assert counts(verdict(load, Losses()), "behind") == (1,)


def test_loss_is_counted_once_and_breaks_the_promise_of_its_level(load: Load) -> None:
    load.findings = [behind(load, "strong")]
    losses = Losses(memories={("agent_0", 2)})
    judged = verdict(load, losses)
    assert counts(judged, "lost", "wrong") == (1, 0)
    assert any("were lost" in broken for broken in judged.broken)
    assert verdict(load, losses, level="memory").broken == ()
    load.vanished.add(("agent_0", 4))
    assert counts(verdict(load, losses), "lost") == (2,)


async def test_what_an_answer_lacked_is_not_deleted(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a deletion on the same lost side would make a loss look like a wrong answer."""
    sent: list[str] = []

    async def send(_: object, service: int, method: str, path: str, **__: Any) -> httpx.Response:
        sent.append(method)
        return httpx.Response(200 if method == "GET" else 204)

    monkeypatch.setattr(Load, "_send", send)
    ledger = load.ledgers[0]
    lacked, other = ledger.memories[:2]
    load.findings += ledger.missed(asked(ledger), lacked)
    for memory in (lacked, other):
        await load._delete(ledger, memory)
    assert sent == ["GET", "GET", "DELETE"]
    assert lacked.must_be_there


def test_other_broken_promises_are_named(load: Load) -> None:
    load._refused({"code": "storage_failed", "status": 500, "retryable": False, "detail": "?"})
    losses = Losses(doubled={("agent_0", 3)}, never_sent=["agent_0 x"], differences=["agent_0 1"])
    judged = judge(load, losses, [], ["after kill"], is_single_fault=False)
    assert len(judged.broken) == 5
    assert len(load.ledgers[0].memories[0].vector) == DIMENSION


@pytest.mark.parametrize(
    ("what", "record", "counted"),
    [
        (LACKS, None, "lost"),
        (LACKS_OUTCOME, {"reward": None}, "lost_outcomes"),
        (SHOWS_DELETED, {"reward": 1.0}, "lost_deletions"),
    ],
)
async def test_what_the_master_itself_does_not_have_was_lost(
    load: Load, what: str, record: dict[str, Any] | None, counted: str
) -> None:
    """Also when a node that has it is the master again at the end."""
    ledger = load.ledgers[0]
    finding, harmless = (
        replace(behind(load, consistency), what=what) for consistency in ("strong", "eventual")
    )
    load.findings = [finding]
    await load._look_after(ledger, [finding])  # nobody can be asked
    assert counts(verdict(load, Losses()), "wrong", counted) == (1, 0)
    load._records = lambda memories: {memory.number: record for memory in memories}
    await load._look_after(ledger, [harmless])
    assert counts(verdict(load, Losses()), "wrong", counted) == (1, 0)
    await load._look_after(ledger, [finding])
    judged = verdict(load, Losses())
    assert counts(judged, "wrong", counted) == (0, 1)
    assert judged.broken != ()


async def test_answer_is_wrong_when_the_master_has_what_it_lacked(load: Load) -> None:
    load._records = lambda memories: {memory.number: {"reward": 1.0} for memory in memories}
    load.findings = [behind(load, "strong")]
    await load._look_after(load.ledgers[0], load.findings)
    assert counts(verdict(load, Losses()), "wrong", "lost") == (1, 0)
