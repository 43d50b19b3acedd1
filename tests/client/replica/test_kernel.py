"""The compiled scan of codes finds exactly what comparing everything in double precision finds."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import app.resident.kernel
from app.vectors import MAX_SQUARED_NORM, MIN_SQUARED_NORM
from coinswarm_memory.replica import kernel
from coinswarm_memory.replica.kernel import NO_DIRECTION, encode, nearest

ALL = np.empty(0, np.bool_)
KINDS = ["random", "market", "spikes", "near", "same", "lengths"]


def drawn(kind: str, rng: np.random.Generator, count: int, dimension: int) -> NDArray[np.float32]:
    """Return vectors as markets make them, or such that codes fit them badly."""
    raw = rng.standard_normal((count, dimension))
    if kind == "market":  # each moment is near those around it, and some repeat
        raw = np.cumsum(raw * 0.05, axis=0) + rng.standard_normal(dimension)
        raw[rng.random(count) < 0.1] = raw[0]
    elif kind == "spikes":  # one number makes the scale, all others are rounded away
        raw *= 1e-4
        raw[np.arange(count), rng.integers(0, dimension, count)] = 1.0
    elif kind == "near":  # apart by less than a code
        raw = rng.standard_normal(dimension) + raw * 1e-4
    elif kind == "same":
        raw = np.repeat(raw[:3], count // 3 + 1, axis=0)[:count]
    elif kind == "lengths":
        raw *= 10.0 ** rng.uniform(-12, 15, (count, 1))
    return raw.astype("f4")


def room(k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return np.full(k, -7, np.int64), np.full(k, np.nan)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 900),
    dimension=st.sampled_from([2, 3, 16, 100, 256]),
    k=st.integers(1, 40),
    share=st.sampled_from([None, 0.0, 0.02, 0.3, 0.9]),
    question_type=st.sampled_from(["f4", "f8"]),
)
@example(kind="market", seed=1, count=20_000, dimension=256, k=1000, share=0.5, question_type="f4")
@example(kind="random", seed=2, count=300, dimension=4096, k=10, share=None, question_type="f8")
def test_nothing_nearer_is_left_out(
    *, kind: str, seed: int, count: int, dimension: int, k: int, share: float | None,
    question_type: str,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    raw = drawn(kind, rng, count + 1, dimension)
    table = encode(raw[1:])
    for array in table:
        array.flags.writeable = False  # as of a mapped file
    question = raw[0].astype(question_type)
    among = ALL if share is None else rng.random(count) < share
    rows, distances = room(k)
    found = nearest(*table, count, question, k, among, rows, distances)

    exact = question.astype("f8")
    expected = 1.0 - table[0].astype("f8") @ (exact / np.linalg.norm(exact))
    expected = np.clip(expected, 0.0, 2.0)
    allowed = np.arange(count) if share is None else np.flatnonzero(among)
    assert found == min(k, len(allowed))
    np.testing.assert_allclose(distances[:found], np.sort(expected[allowed])[:found], atol=1e-12)
    np.testing.assert_allclose(expected[rows[:found]], distances[:found], atol=1e-12)
    assert set(rows[:found].tolist()) <= set(allowed.tolist())
    order = list(zip(distances[:found].tolist(), rows[:found].tolist(), strict=True))
    assert order == sorted(set(order))  # of equally near ones the lower row comes first
    assert (rows[found:] == -7).all()
    assert ((distances[:found] >= 0.0) & (distances[:found] <= 2.0)).all()


def test_of_equal_vectors_the_lowest_rows_are_found() -> None:
    rng = np.random.default_rng(5)
    one, *others = rng.standard_normal((50, 24)).astype("f4")
    raw = np.array([*others[:20], *[one] * 30, *others[20:]])
    rows, distances = room(12)
    assert nearest(*encode(raw), len(raw), one, 12, ALL, rows, distances) == 12
    assert rows.tolist() == list(range(20, 32))
    assert distances == pytest.approx(0.0, abs=1e-7)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(KINDS))
def test_the_bound_holds_for_each_vector(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    units, codes, scales, errors = encode(drawn(kind, rng, 40, 16))
    unit, code = units.astype("f8"), codes.astype("i8")
    looks = scales * scales[0] * (code @ code[0])
    bound = errors + errors[0] * (1.0 + errors)
    assert (np.abs(unit @ unit[0] - looks) <= bound).all()


@pytest.mark.parametrize("size", [1e-15, 1e18])
def test_a_question_may_be_as_short_and_long_as_the_service_takes(size: float) -> None:
    table, rng, taken = encode(np.eye(8, dtype="f4")), np.random.default_rng(4), 0
    for _ in range(50):
        question = rng.standard_normal(8)
        question = (question * (size / np.linalg.norm(question))).astype("f4")
        if MIN_SQUARED_NORM <= np.vdot(question, question) <= MAX_SQUARED_NORM:
            taken += 1
            assert nearest(*table, 8, question, 1, ALL, *room(1)) == 1
    assert taken > 10


@pytest.mark.parametrize("number", [0.0, 4e-16, 6e17, 1e200, np.inf, np.nan])
def test_a_question_without_direction_is_said_to_be(number: float) -> None:
    table = encode(np.eye(4, dtype="f4"))
    assert nearest(*table, 4, np.full(4, number), 1, ALL, *room(1)) == NO_DIRECTION


def test_arrays_that_do_not_fit_are_refused() -> None:
    table, question = encode(np.eye(4, dtype="f4")), np.ones(4, "f4")
    for count, asked, among in [
        (5, question, ALL),
        (-1, question, ALL),
        (4, question[:3], ALL),
        (4, question, np.ones(3, np.bool_)),
    ]:
        with pytest.raises(ValueError, match=r"table|among"):
            nearest(*table, count, asked, 1, among, *room(1))
    assert nearest(*table, 0, question, 1, ALL, *room(1)) == 0
    assert nearest(*table, 4, question, 9, ALL, *room(2)) == 2


def test_the_service_and_the_client_hold_the_same_file() -> None:
    files = [Path(str(module.__file__)) for module in (kernel, app.resident.kernel)]
    assert files[0].read_bytes() == files[1].read_bytes()
