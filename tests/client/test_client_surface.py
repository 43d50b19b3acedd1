"""What a user of the client does, against the service."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import coinswarm_memory as cm
from coinswarm_memory import AsyncMemory, BulkReport, Memory
from tests.client.conftest import states
from tests.conftest import DIMENSION
from tests.kit.service_process import ServiceProcess

DAY = 86_400.0


def test_an_open_memory_is_closed_and_recalled(memory: Memory) -> None:
    me = memory.agent("opener")
    state = states(1)[0]
    stored = me.remember(state, product="BTC-USD", regime="bull", action="buy")
    assert stored.created
    assert stored.token
    closed = me.close(stored.id, reward=0.012)
    assert closed.changed
    found = me.recall(state, k=10)
    assert len(found) == 1
    assert found[0].id == stored.id
    assert found[0].product == "BTC-USD"
    assert found[0].reward == 0.012
    assert found[0].distance == pytest.approx(0, abs=1e-6)
    assert found.exact
    assert not found.partial
    assert found.served_by
    with pytest.raises(cm.OutcomeConflict):
        me.close(stored.id, reward=0.5)


def test_filters_and_vectors(memory: Memory) -> None:
    me = memory.agent("filters")
    some = states(6)
    for i, state in enumerate(some):
        me.remember(
            state,
            product="a" if i % 2 else "b",
            action="buy",
            reward=i / 10,
            timestamp=datetime(2020, 1, 1 + i, tzinfo=UTC),
            outcome_at=f"2020-02-{1 + i:02d}",
        )
    found = me.recall(some[0], product="a", min_reward=0.2, since="2020-01-01", vectors=True)
    assert sorted(hit.reward or 0 for hit in found) == [0.3, 0.5]
    assert np.array_equal(found.states, some[[int((hit.reward or 0) * 10) for hit in found]])
    assert len(me.recall(some[0], product=["a", "b"], until="2020-01-03")) == 3
    assert len(me.recall(some[0], as_of="2020-02-02T12:00:00Z")) == 2
    assert len(me.recall(some[0], max_distance=1e-4)) == 1
    assert me.recall(some[0], scope="others").exact


def test_a_repeated_store_doubles_nothing_and_a_conflict_has_its_class(memory: Memory) -> None:
    me = memory.agent("repeater")
    state = states(1)[0]
    assert me.remember(state, reward=1.0, id="one").created
    assert not me.remember(state, reward=1.0, id="one").created
    with pytest.raises(cm.ContentConflict) as refused:
        me.remember(state * 2 + 1, reward=1.0, id="one")
    assert refused.value.status == 409
    assert refused.value.code == "content_conflict"
    assert refused.value.request_id
    assert isinstance(refused.value, cm.CoinswarmError)


def test_recall_many_is_recall_of_each(memory: Memory) -> None:
    me = memory.agent("many")
    some = states(300)
    assert me.remember_many(some, reward=np.arange(300.0)).created == 300
    answers = me.recall_many(some, k=3)
    assert [answer[0].reward for answer in answers] == list(range(300))
    assert [hit.id for hit in me.recall(some[7], k=3)] == [hit.id for hit in answers[7]]


def test_estimate(memory: Memory) -> None:
    me = memory.agent("estimator")
    some = states(20)
    actions = ["buy", "sell"] * 10
    me.remember_many({"state": some, "action": actions, "reward": [0.1, -0.1] * 10})
    value = me.estimate(some[0], k=20)
    best = value.best()
    assert best is not None
    assert best.action == "buy"
    assert value.actions["buy"].value == pytest.approx(0.1)
    assert value.actions["sell"].q05 == pytest.approx(-0.1)
    assert value.actions[0].effective_n > 1
    assert {found.action for found in value.actions} == {"buy", "sell"}
    with pytest.raises(KeyError):
        value.actions["hold"]


def _frames(rows: int) -> list[object]:
    columns = {
        "product": ["BTC-USD"] * rows,
        "reward": [0.5, float("nan")] * (rows // 2),
        "timestamp": pd.date_range("2020-01-01", periods=rows, tz="UTC"),
    }
    vectors = states(rows)
    frame = pd.DataFrame({**columns, "state": list(vectors)})
    wide = pd.DataFrame({f"f{i}": vectors[:, i] for i in range(DIMENSION)} | columns)
    polars = pl.DataFrame(
        {
            "product": columns["product"],
            "reward": [0.5, None] * (rows // 2),
            "timestamp": list(columns["timestamp"].to_pydatetime()),
            "state": pl.Series(vectors.tolist(), dtype=pl.Array(pl.Float32, DIMENSION)),
        }
    )
    return [frame, wide, polars, polars.to_arrow()]


@pytest.mark.parametrize("which", range(4), ids=["pandas", "wide", "polars", "arrow"])
def test_frames_are_stored_row_by_row(memory: Memory, which: int) -> None:
    me = memory.agent(f"frame_{which}")
    data = _frames(10)[which]
    columns = {"state": [f"f{i}" for i in range(DIMENSION)]} if which == 1 else None
    report = me.remember_many(data, columns=columns, action="buy")
    assert (report.created, report.unchanged, report.refused) == (10, 0, [])
    stored = list(me.query(sort_by="timestamp", order="asc"))
    assert [memory.reward for memory in stored] == [0.5, None] * 5
    assert [memory.timestamp for memory in stored] == [1577836800 + DAY * i for i in range(10)]
    assert {memory.action for memory in stored} == {"buy"}
    found = me.get(stored[3].id).state
    assert found is not None
    assert np.array_equal(found, states(10)[3])


def test_an_answer_is_a_frame_that_can_be_stored_again(memory: Memory) -> None:
    me = memory.agent("round_trip")
    me.remember_many(states(5), reward=1.0, metadata={"a": 1})
    found = me.recall(states(1)[0], k=5)
    frame = found.to_pandas()
    assert list(frame["distance"]) == sorted(frame["distance"])
    assert str(frame["timestamp"].dt.tz) == "UTC"
    table = found.to_arrow()
    assert table.num_rows == 5
    for name in ("timestamp", "outcome_at", "recorded_at"):
        assert table.schema.field(name).type == pa.timestamp("us", tz="UTC"), name
    assert me.query().to_pandas().shape[0] == 5


def test_each_refused_row_is_named_and_the_others_are_stored(memory: Memory) -> None:
    me = memory.agent("refuser")
    some = states(6)
    some[2, 4] = np.nan
    me.remember(states(1, seed=9)[0], id="taken")
    seen: list[int] = []
    report = me.remember_many(
        {"state": some, "id": ["a", "b", "c", "taken", "e", "f"], "regime": ["x"] * 5 + ["x\n"]},
        batch=2,
        progress=lambda progress: seen.append(progress.done),
    )
    assert report.created == 3
    assert [(row.index, row.id, row.code) for row in report.refused] == [
        (2, "c", "invalid_input"),
        (3, "taken", "content_conflict"),
        (5, "f", "invalid_input"),
    ]
    assert "state[2][4] is nan" in report.refused[0].detail
    assert seen[-1] == 6
    rows = ({"state": state, "id": name} for state, name in zip(some, "abcdef", strict=True))
    again: BulkReport = me.remember_many(rows)
    assert [row.index for row in again.refused] == [0, 1, 2, 4]  # other content: no regime


def test_a_writer_stores_what_is_appended(memory: Memory) -> None:
    me = memory.agent("writer")
    with me.writer(batch=5, flush_s=0.05) as writer:
        ids = [writer.append(state, action="buy", reward=0.01) for state in states(12)]
        writer.flush()
        assert writer.report.created == 12
        with pytest.raises(cm.InvalidVector):
            writer.append([1.0, 2.0])
    assert sorted(found.id for found in me.query()) == sorted(ids)
    with pytest.raises(cm.ItemsRefused) as refused, me.writer() as writer:
        writer.append(states(1)[0] * 3 + 1, id=ids[0])
    assert refused.value.refused[0].index == 0


def test_query_reads_all_pages(memory: Memory) -> None:
    me = memory.agent("pages")
    me.remember_many(states(25), reward=np.arange(25.0))
    rewards = [found.reward for found in me.query(min_reward=5, sort_by="reward", page=7)]
    assert rewards == [float(i) for i in range(24, 4, -1)]
    assert [page.total for page in me.query(page=10).pages()] == [25, 25, 25]


def test_a_sample_is_arrays(memory: Memory) -> None:
    me = memory.agent("sampler")
    some = states(40)
    me.remember_many(some[:39], reward=np.arange(39.0), next_state=some[1:], terminal=[False] * 39)
    me.remember(some[39], reward=39.0, terminal=True)
    draw = me.sample(40, strategy="prioritized", seed=1)
    order = draw.rewards.astype(int)
    assert sorted(order) == list(range(40))
    assert draw.states.dtype == np.float32
    assert np.array_equal(draw.states, some[order])
    assert np.array_equal(draw.next_states[draw.has_next], some[order[draw.has_next] + 1])
    assert draw.terminals.tolist() == (order == 39).tolist() == (~draw.has_next).tolist()
    assert draw.weights.max() <= 1
    assert me.sample(40, strategy="prioritized", seed=1).ids == draw.ids
    with pytest.raises(cm.InvalidRows):
        draw.update_priorities(np.ones(39))
    assert [done.changed for done in draw.update_priorities(np.arange(40) + 1)] == [40]
    assert me.get(draw.ids[7]).priority == 8
    me.delete(draw.ids[0])
    assert me.update_priorities({draw.ids[0]: 1, draw.ids[1]: 5}).missing == [draw.ids[0]]


def test_a_sample_is_the_same_without_pyarrow(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = memory.agent("columns")
    me.remember_many(states(20), reward=1.0, next_state=[None, *states(19)], action="buy")
    columns = me.sample(20, seed=1).arrays
    monkeypatch.setattr("coinswarm_memory.operations.columns.is_installed", lambda: False)
    without = me.sample(20, seed=1).arrays
    for name in columns.__dataclass_fields__:
        assert np.array_equal(getattr(columns, name), getattr(without, name)), name
    assert len(me.sample(5, since="2100-01-01")) == 0


def test_trajectories_agents_and_the_key(memory: Memory) -> None:
    me = memory.agent("trajectories")
    me.remember_many(
        states(6), episode_id=["one"] * 3 + ["two"] * 3, step=[0, 1, 2] * 2, reward=1.0
    )
    assert [found.step for found in me.query(episode_id="two", min_step=1, order="asc")] == [1, 2]
    assert {hit.episode_id for hit in me.recall(states(6)[0], episode_id="two")} == {"two"}
    found = {agent.agent_id: agent for agent in memory.agents()}
    assert found["trajectories"].memories == 6
    assert memory.whoami().role == "admin"


def test_a_view_of_the_past_sees_nothing_later(memory: Memory) -> None:
    me = memory.agent("walker")
    some = states(4)
    for i, state in enumerate(some):
        me.remember(state, reward=1.0, timestamp=i * DAY, outcome_at=(i + 1) * DAY, action="buy")
    past = memory.at(2.5 * DAY)
    then = past.agent("walker")
    assert len(then.recall(some[3], k=10)) == 2
    assert [len(answer) for answer in then.recall_many(some)] == [2] * 4
    assert then.estimate(some[3]).actions["buy"].count == 2
    assert len(then.query().all()) == 2
    assert len(then.sample(10).ids) == 2
    assert len(past.sample(10).ids) <= len(memory.sample(4096).ids)
    assert len(then.recall(some[3], as_of=1.5 * DAY)) == 1
    with pytest.raises(cm.LookAhead):
        then.recall(some[3], as_of=3 * DAY)
    with pytest.raises(cm.LookAhead):
        past.at(3 * DAY)
    for write in (
        lambda: then.remember(some[0]),
        lambda: then.close("x", reward=1),
        lambda: then.remember_many(some),
        then.writer,
        lambda: then.delete("x"),
        past.stats,
    ):
        with pytest.raises(cm.ReadOnlyView):
            write()


def test_concepts(memory: Memory) -> None:
    concept = states(1, seed=5)[0]
    fields = {"regime_name": "bull", "sharpe_ratio": 1.5, "win_rate": 0.6}
    stored = memory.concepts.remember(concept, memory_type="REGIME", **fields)  # type: ignore[arg-type]
    found = memory.concepts.recall(concept, k=5, memory_type="REGIME")
    assert found[0].id == stored.id
    assert memory.concepts.update(stored.id, win_rate=0.7).win_rate == 0.7
    assert [one.id for one in memory.concepts.query(regime_name="bull")] == [stored.id]
    kept = memory.concepts.get(stored.id).vector
    assert kept is not None
    assert np.array_equal(kept, concept)
    memory.concepts.delete(stored.id)
    with pytest.raises(cm.MemoryNotFound):
        memory.concepts.get(stored.id)


def test_deletion_and_ratings(memory: Memory) -> None:
    me = memory.agent("tidy")
    me.remember_many(states(4), reward=[0.0, 1.0, 2.0, 3.0], id=["0", "1", "a/b", "3"])
    assert me.rate("3", quality=0.5, priority=2.0).quality == 0.5
    me.delete("a/b")
    assert me.delete_matching(max_reward=1.0).matched == 2
    assert me.delete_matching(max_reward=1.0, dry_run=False).deleted == 2
    assert [found.id for found in me.query()] == ["3"]


async def test_the_asynchronous_client_does_the_same(service: ServiceProcess) -> None:
    some = states(30)
    async with AsyncMemory(service.url, timeout_s=20) as memory:
        assert await memory.is_ready()
        me = memory.agent("asynchronous")
        report = await me.remember_many(some, reward=np.arange(30.0), batch=7)
        assert report.created == 30
        assert (await me.recall(some[3], k=1))[0].reward == 3
        assert [len(found) for found in await me.recall_many(some, k=2)] == [2] * 30
        assert [e.reward async for e in me.query(sort_by="reward", order="asc")] == list(range(30))
        async with me.writer(batch=2, flush_s=0.05) as writer:
            for state in states(5, seed=3):
                await writer.append(state, reward=1.0)
        assert writer.report.created == 5
        assert len((await me.sample(8, seed=1)).ids) == 8
        past = memory.at("2020-01-01").agent("asynchronous")
        assert len(await past.recall(some[0])) == 0
        assert (await memory.stats("asynchronous"))["agents"][0]["memories"] == 35


def test_readiness(memory: Memory) -> None:
    assert memory.is_ready()
    with Memory("http://127.0.0.1:9") as nobody:
        assert not nobody.is_ready(timeout_s=0.2)


def test_numbers_of_numpy_are_numbers(memory: Memory) -> None:
    me = memory.agent("numpy_numbers")
    number: Any = np.float32
    stored = me.remember(states(1)[0], pinned=np.bool_(True))  # type: ignore[arg-type]
    me.close(stored.id, reward=np.float64(0.5))
    me.rate(stored.id, priority=number(2.0))
    found = me.recall(states(1)[0], k=np.int64(3), min_reward=number(0.25))  # type: ignore[arg-type]
    assert [hit.priority for hit in found] == [2.0]
    assert len(list(me.query(min_reward=np.float64(0.6)))) == 0
