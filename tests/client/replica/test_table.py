"""A replica's table against plain Python: any order of changes, any filter, and a file."""

import os
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinswarm_memory import InvalidReplicaFile
from coinswarm_memory.answers.experiences import Hit
from coinswarm_memory.replica.file import load, save
from coinswarm_memory.replica.rows import Rows
from coinswarm_memory.replica.table import Table

DIMENSION = 4
names = st.sampled_from(["BTC-USD", "a,b", "é"])
numbers = st.none() | st.integers(-3, 3).map(float)
memories = st.fixed_dictionaries(
    {
        "id": st.sampled_from([f"m{i}" for i in range(9)]),
        "product_id": names,
        "regime": names,
        "action": st.none() | names,
        "reward": numbers,
        "timestamp": st.integers(0, 9).map(float),
        "outcome_at": numbers,
        "terminal": st.booleans(),
        "quality": numbers,
        "quality_at": numbers,
        "episode_id": st.none() | names,
        "step": st.none() | st.integers(0, 5),
        "vector": st.lists(st.integers(-3, 3), min_size=4, max_size=4).filter(any),
    }
)
conditions = st.fixed_dictionaries(
    {},
    optional={
        "product_id": names | st.lists(names, min_size=1, max_size=2),
        "action": names,
        "episode_id": names,
        "min_reward": st.integers(-3, 3),
        "max_reward": st.integers(-3, 3),
        "since": st.integers(0, 9),
        "until": st.integers(0, 9),
        "terminal": st.booleans(),
        "min_quality": st.integers(-3, 3),
        "max_step": st.integers(0, 5),
        "as_of": st.integers(0, 9),
    },
)


def rows(given_memories: list[dict[str, Any]]) -> Rows:
    base = {"agent_id": "a", "metadata": {}, "pinned": False}
    records = [
        msgspec.json.encode(base | {n: v for n, v in m.items() if n != "vector"})
        for m in given_memories
    ]
    return Rows(records, np.array([m["vector"] for m in given_memories], "f4").reshape(-1, 4))


def reaches(value: float | None, low: float | None, high: float | None) -> bool:
    if low is None and high is None:
        return True
    if value is None:
        return False
    return (low is None or value >= low) and (high is None or value <= high)


def matches(memory: dict[str, Any], wanted: dict[str, Any]) -> bool:
    for name in ("product_id", "action", "episode_id"):
        some = wanted.get(name)
        if some is not None and memory[name] not in ([some] if isinstance(some, str) else some):
            return False
    as_of = wanted.get("as_of")
    rated_later = (
        as_of is not None and memory["quality_at"] is not None and memory["quality_at"] > as_of
    )
    return (
        reaches(memory["reward"], wanted.get("min_reward"), wanted.get("max_reward"))
        and reaches(memory["timestamp"], wanted.get("since"), wanted.get("until"))
        and reaches(memory["timestamp"], None, as_of)
        and reaches(memory["outcome_at"], None, as_of)
        and reaches(memory["step"], None, wanted.get("max_step"))
        and reaches(memory["quality"], wanted.get("min_quality"), None)
        and not (wanted.get("min_quality") is not None and rated_later)
        and wanted.get("terminal", memory["terminal"]) == memory["terminal"]
    )


@settings(max_examples=150, deadline=None)
@given(
    history=st.lists(st.lists(memories, max_size=6) | st.sampled_from(["m0", "m3"]), max_size=8),
    wanted=conditions,
    k=st.integers(1, 12),
)
def test_any_history_and_filter(history: list[Any], wanted: dict[str, Any], k: int) -> None:
    table, model = Table(DIMENSION), dict[str, dict[str, Any]]()
    for step in history:
        if isinstance(step, str):
            table.apply([], [step])
            model.pop(step, None)
        else:
            table.apply([rows(step)])
            model |= {memory["id"]: memory for memory in step}
    assert len(table) == len(model)
    question = np.array([1, 2, -1, 0.5], "f4")
    found = table.nearest(question, k, wanted)
    expected = {
        name: 1 - np.dot(memory["vector"], question) / np.linalg.norm(memory["vector"]) / 2.5
        for name, memory in model.items()
        if matches(memory, wanted)
    }
    near = sorted(expected.values())[:k]
    np.testing.assert_allclose([hit.distance for hit in found], near, atol=1e-6)
    for hit in found:
        assert hit.distance == pytest.approx(expected[hit.id], abs=1e-6)
        assert hit.product_id == model[hit.id]["product_id"]
        later = "as_of" in wanted and (model[hit.id]["quality_at"] or 0) > wanted["as_of"]
        assert hit.quality == (None if later else model[hit.id]["quality"])


def filled(count: int) -> Table:
    rng = np.random.default_rng(count)
    table = Table(DIMENSION)
    records = [
        msgspec.json.encode(
            {
                "id": f"m{i}",
                "agent_id": "a",
                "product_id": "p",
                "regime": "bull" if i % 2 else "bear",
                "timestamp": float(i),
                "metadata": {"n": i},
            }
        )
        for i in range(count)
    ]
    table.apply([Rows(records, rng.standard_normal((count, DIMENSION)).astype("f4"))])
    return table


def test_a_file_holds_the_same_and_grows_on(tmp_path: Path) -> None:
    table, path = filled(3000), tmp_path / "a.replica"
    of_killed, in_progress = (tmp_path / f"a.replica.{name}.part" for name in ("1", "2"))
    of_killed.touch()
    os.utime(of_killed, (1, 1))
    in_progress.touch()
    save(path, "a", table, "position")
    assert set(tmp_path.iterdir()) == {path, in_progress}
    loaded = load(path, "a")
    assert loaded is not None
    again, position = loaded
    assert position == "position"
    question, wanted = np.ones(DIMENSION, "f4"), {"regime": "bull", "since": 10.0}
    assert again.nearest(question, 20, wanted) == table.nearest(question, 20, wanted)
    for each in (table, again):
        base = {"agent_id": "a", "product_id": "p", "regime": "new", "timestamp": 1.0}
        more = [msgspec.json.encode({**base, "id": f"n{i}"}) for i in range(3000)]
        each.apply([Rows(more, np.full((3000, DIMENSION), 1.0, "f4"))], ["m1", "m2999"])
    assert len(again) == len(table) == 5998
    assert again.nearest(question, 50, {"regime": "bull"}) == table.nearest(
        question, 50, {"regime": "bull"}
    )
    # The file is as it was: what is mapped changes in memory alone.
    unchanged = load(path, "a")
    assert unchanged is not None
    assert len(unchanged[0]) == 3000


def test_an_answer_is_of_one_moment() -> None:
    count, table, rng = 2000, filled(2000), np.random.default_rng(3)
    sets = [rng.standard_normal((count, DIMENSION)).astype("f4") for _ in range(2)]
    base = {"agent_id": "a", "product_id": "p", "timestamp": 1.0, "metadata": {}}
    parts = [
        Rows(
            [msgspec.json.encode({**base, "id": f"m{i}", "regime": name}) for i in range(count)],
            raw,
        )
        for name, raw in zip("ab", sets, strict=True)
    ]
    question = np.ones(DIMENSION, "f4")
    nearest = {}
    for name, part in zip("ba", parts[::-1], strict=True):
        table.apply([part])
        nearest[name] = table.nearest(question, 9, {"regime": name})
    stop = threading.Event()
    found: list[list[Hit]] = []

    def ask() -> None:
        while not stop.is_set():
            found.append(table.nearest(question, 9, {}))
            found.extend(f for n in "ab" if (f := table.nearest(question, 9, {"regime": n})))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for turn in range(30):
        table.apply([parts[turn % 2]])
    stop.set()
    for thread in threads:
        thread.join()
    assert len(found) > 60
    for hits in found:
        assert hits == nearest[hits[0].regime]


def test_a_file_that_is_none_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "a.replica"
    assert load(path, "a") is None
    save(path, "a", filled(10), "position")
    with pytest.raises(InvalidReplicaFile, match="not b"):
        load(path, "b")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(InvalidReplicaFile, match="cut off"):
        load(path, "a")
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(InvalidReplicaFile, match="not a replica"):
        load(path, "a")
