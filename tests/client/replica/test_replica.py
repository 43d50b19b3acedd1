"""A replica in the agent's process answers as the service does."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from redis import Redis

from app.embedded import EmbeddedNode
from coinswarm_memory import (
    AsyncMemory,
    InvalidInput,
    InvalidVector,
    LookAhead,
    Memory,
    ReplicaBehind,
    WriterOfAnotherProcess,
)
from coinswarm_memory.answers import Estimate, Progress
from tests.client.conftest import states
from tests.conftest import DIMENSION
from tests.kit.service_process import ServiceProcess


@pytest.fixture
def redis(empty_node: EmbeddedNode) -> Iterator[Redis]:
    with Redis.from_url(empty_node.url, protocol=2) as client:
        yield client


def filled(memory: Memory, agent: str, count: int) -> None:
    memory.agent(agent).remember_many(
        states(count),
        id=[f"m{i}" for i in range(count)],
        product=[f"p{i % 3}" for i in range(count)],
        regime=["bull" if i % 2 else "bear" for i in range(count)],
        action=[("buy", "sell", None)[i % 3] for i in range(count)],
        reward=[i / count if i % 5 else None for i in range(count)],
        timestamp=[1000.0 + i for i in range(count)],
        outcome_at=[1000.5 + i if i % 5 else None for i in range(count)],
        metadata=[{"n": i} for i in range(count)],
    )


LONG_S = 60.0
"""A lag that no busy machine brings about."""


def until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def is_judged(estimate: Estimate) -> bool:
    return all(action.interval and action.interval.n for action in estimate.actions)


def test_the_same_answers_as_the_service(memory: Memory) -> None:
    filled(memory, "same", 400)
    me = memory.agent("same")
    asked: list[dict[str, Any]] = [
        {},
        {"product": "p1"},
        {"product": ["p0", "p2"], "regime": "bull", "k": 25},
        {"action": "buy", "min_reward": 0.2, "max_reward": 0.9},
        {"since": 1100, "until": 1200.0},
        {"as_of": 1050},
        {"max_distance": 0.6},
        {"terminal": True},
        {"k": 1000},
        {"product": "none such"},
    ]
    reported: list[Progress] = []
    with me.replica(max_lag_s=LONG_S, progress=reported.append) as local:
        assert (len(local), reported[-1].done, reported[-1].total) == (400, 400, 400)
        for question in states(8, seed=1):
            for options in asked:
                ours, theirs = local.recall(question, **options), me.recall(question, **options)
                assert ours.served_by == "replica"
                assert ours.lag_s is not None
                assert ours.lag_s <= LONG_S
                assert [h.id for h in ours] == [h.id for h in theirs]
                np.testing.assert_allclose(
                    [h.distance for h in ours], [h.distance for h in theirs], atol=1e-6
                )
                for mine, its in zip(ours, theirs, strict=True):
                    assert (mine.metadata, mine.reward, mine.recorded_at) == (
                        its.metadata,
                        its.reward,
                        its.recorded_at,
                    )
        for beyond in ({"scope": "all"}, {"vectors": True}, {"consistency": "strong"}):
            assert local.recall(question, **beyond).served_by != "replica"
        # The service judges an estimate once it has made the backcasts, which it does beside it.
        until(lambda: is_judged(me.estimate(question, k=50)))
        estimate = local.estimate(question, k=50)
        assert estimate.actions == me.estimate(question, k=50).actions


def test_own_writes_are_in_it_at_once(memory: Memory) -> None:
    me = memory.agent("own")
    state, other = states(2)
    with me.replica(max_lag_s=LONG_S, when_behind="raise") as local:
        assert list(local.recall(state)) == []
        stored = me.remember(state, action="buy")
        assert [h.id for h in local.recall(state)] == [stored.id]
        me.close(stored.id, reward=0.5)
        assert local.recall(state)[0].reward == 0.5
        me.rate(stored.id, quality=0.25)
        assert local.recall(state, min_quality=0.2)[0].quality == 0.25
        me.remember_many(np.stack([other] * 30))
        assert len(local.recall(other, k=100)) == 31
        with me.writer() as writer:
            name = writer.append(other)
            writer.flush()
            assert name in {h.id for h in local.recall(other, k=100)}
        me.delete(stored.id)
        assert stored.id not in {h.id for h in local.recall(state, k=100)}
        me.delete_matching(dry_run=False)
        assert len(local) == 0


def test_a_forked_process_asks_the_service(memory: Memory) -> None:
    filled(memory, "forked", 50)
    question = states(1)[0]
    with memory.agent("forked").replica(max_lag_s=60.0, when_behind="ask") as local:
        assert local.recall(question).served_by == "replica"
        child = os.fork()
        if child == 0:
            try:
                answers = [local.recall(question) for _ in range(20)]
                os._exit(any(len(a) != 10 or a.served_by == "replica" for a in answers))
            finally:
                os._exit(2)
        answers = [memory.agent("forked").recall(question) for _ in range(20)]
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert {len(answer) for answer in answers} == {10}
        assert local.recall(question).served_by == "replica"


def test_an_open_writer_stores_once_what_was_appended_before_a_fork(memory: Memory) -> None:
    me = memory.agent("forked_writer")
    first, second, third = states(3)
    with me.writer(flush_s=60.0) as writer:
        writer.append(first)
        child = os.fork()
        if child == 0:
            try:
                with pytest.raises(WriterOfAnotherProcess), writer:
                    writer.append(second)
                with pytest.raises(WriterOfAnotherProcess):
                    writer.flush()
                with me.writer() as own:
                    own.append(second)
                writer.__exit__(None, None, None)
                os._exit(writer.report.created != 0 or own.report.created != 1)
            finally:
                os._exit(2)
        writer.append(third)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert writer.report.created == 2
    assert len(list(me.query())) == 3


async def test_a_forked_process_has_asynchronous_connections_of_its_own(
    service: ServiceProcess, memory: Memory
) -> None:
    filled(memory, "forked_async", 50)
    question = states(1)[0]
    async with AsyncMemory(service.url) as mine:

        async def answers() -> set[int]:
            me = mine.agent("forked_async")
            asked = [me.recall(question, k=k) for k in range(1, 21)]
            return {len(answer) - k for k, answer in enumerate(await asyncio.gather(*asked), 1)}

        assert await answers() == {0}
        child = os.fork()
        if child == 0:
            try:
                os._exit(asyncio.run(answers()) != {0})
            finally:
                os._exit(2)
        for _ in range(5):
            assert await answers() == {0}
        ended = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(ended[1]) == 0


def test_others_writes_are_in_it_within_the_lag(memory: Memory, service: ServiceProcess) -> None:
    me = memory.agent("others")
    states_ = states(30)
    with me.replica(max_lag_s=1.0) as local, Memory(service.url) as colleague:
        for i, state in enumerate(states_):
            colleague.agent("others").remember(state, id=f"m{i}")
            confirmed_s = time.monotonic()
            while True:
                asked_s = time.monotonic()
                answer = local.recall(state, k=1)
                if answer.served_by != "replica":
                    break
                if answer.memories and answer[0].id == f"m{i}":
                    break
                assert answer.lag_s is not None
                assert asked_s - confirmed_s <= answer.lag_s + 1e-6
                time.sleep(0.002)


def test_what_retired_is_at_the_service(memory: Memory, service: ServiceProcess) -> None:
    filled(memory, "pruned", 50)
    me = memory.agent("pruned")
    with me.replica(max_lag_s=LONG_S) as local:
        before = local.recall(states(1)[0], k=50, as_of=1_050)
        assert before.served_by == "replica"
        rule = {"agent_id": "pruned", "episodic_max_age_days": 0, "dry_run": False}
        httpx.post(f"{service.url}/v1/retention", json=rule, timeout=60).raise_for_status()
        while len(local):
            time.sleep(0.01)
        after = local.recall(states(1)[0], k=50, as_of=1_050)
        assert after.served_by != "replica"
        assert [m.id for m in after] == [m.id for m in before] != []
        assert local.recall(states(1)[0], k=50).served_by == "replica"


def test_a_file_starts_it_and_the_feed_brings_it_up(memory: Memory, tmp_path: Path) -> None:
    filled(memory, "filed", 200)
    me, path = memory.agent("filed"), tmp_path / "filed.replica"
    with me.replica(path=path) as local:
        position = local.position
    me.delete("m7")
    me.remember(states(1)[0] * 2, id="new")
    reported: list[Progress] = []
    with me.replica(path=path, progress=reported.append) as local:
        assert reported == []  # no snapshot was read
        assert local.position != position
        ids = {hit.id for hit in local.recall(states(1)[0], k=1000)}
        assert ids == ({f"m{i}" for i in range(200)} | {"new"}) - {"m7"}


def test_a_lost_position_begins_anew(memory: Memory, redis: Redis, tmp_path: Path) -> None:
    filled(memory, "trimmed", 50)
    me, path = memory.agent("trimmed"), tmp_path / "trimmed.replica"
    with me.replica(max_lag_s=0.5, path=path) as local:
        assert len(local) == 50
    me.delete("m1")
    me.delete("m2")
    redis.xtrim("episodic_changes:{trimmed}", maxlen=1, approximate=False)
    with me.replica(max_lag_s=0.5, path=path) as local:
        assert len(local) == 48
        for name in ("m3", "m4", "m5"):
            redis.delete("episodic_changes:{trimmed}")  # the feed is cut while it is followed
            me.delete(name)
        until(lambda: local.is_current and len(local) == 45)
        assert len(local.recall(states(1)[0], k=100)) == 45


def test_behind_it_asks_or_raises(service: ServiceProcess) -> None:
    """A service that does not answer is noticed, and nothing stale is said for current."""
    state = states(1)[0]
    with Memory(service.url, timeout_s=3.0) as memory:
        me = memory.agent("behind")
        me.remember(state)
        with (
            me.replica(max_lag_s=3.0, when_behind="raise") as strict,
            me.replica(max_lag_s=3.0) as asking,
        ):
            assert strict.recall(state).served_by == "replica"
            service.process.send_signal(19)  # SIGSTOP
            try:
                until(lambda: not strict.is_current)
                assert strict.lag_s > 3.0
                with pytest.raises(ReplicaBehind):
                    strict.recall(state)
            finally:
                service.process.send_signal(18)  # SIGCONT
            assert asking.recall(state, timeout_s=20).memories
            until(lambda: strict.is_current)
            assert strict.recall(state).served_by == "replica"


def test_many_threads_ask_while_it_changes(memory: Memory) -> None:
    filled(memory, "threads", 300)
    me = memory.agent("threads")
    wrong: list[object] = []
    with me.replica(max_lag_s=LONG_S) as local:

        def ask(seed: int) -> None:
            for question in states(200, seed=seed):
                found = [hit.distance for hit in local.recall(question, k=20)]
                if len(found) != 20 or found != sorted(found):
                    wrong.append(found)

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for i in range(20):
            me.delete(f"m{i}")
            me.remember(states(1, seed=i)[0], id=f"n{i}")
        for thread in threads:
            thread.join()
    assert wrong == []


async def test_the_asynchronous_replica(service: ServiceProcess) -> None:
    state = states(1)[0]
    async with AsyncMemory(service.url) as memory:
        me = memory.agent("async")
        async with me.replica(max_lag_s=LONG_S) as local:
            await me.remember(state, id="m")
            answer = await local.recall(state)
            assert ([h.id for h in answer], answer.served_by) == (["m"], "replica")


def test_a_wrong_question_is_refused_as_by_the_service(memory: Memory) -> None:
    me = memory.agent("wrong")
    me.remember(states(1)[0])
    with me.replica() as local:
        with pytest.raises(InvalidVector):
            local.recall(np.zeros(DIMENSION))
        with pytest.raises(InvalidVector):
            local.recall(np.ones(DIMENSION + 1))
        with pytest.raises(InvalidInput):
            local.recall(np.ones(DIMENSION), k=0)
        with pytest.raises(ValueError, match="max_lag_s"):
            me.replica(max_lag_s=0.0)
    past = memory.at(10.0).agent("wrong")
    with past.replica() as local, pytest.raises(LookAhead):
        local.recall(states(1)[0], as_of=11.0)
