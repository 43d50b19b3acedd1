"""The scan of codes finds exactly what comparing everything finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from coinswarm_memory.replica.scan import (
    EXCLUDED,
    SUMMED_ROWS,
    Vectors,
    at_least_kth,
    encoded,
    exclude,
)

DIMENSION = 16
ROUNDED = 1e-7
"""Unit vectors are kept as float32."""


def distances(raw: NDArray[np.float32], question: NDArray[np.float32]) -> NDArray[np.float64]:
    table, asked = raw.astype("f8"), question.astype("f8")
    norms = np.linalg.norm(table, axis=1) * np.linalg.norm(asked)
    found: NDArray[np.float64] = 1.0 - table @ asked / norms
    return found


def hostile(kind: str, rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Vectors that codes fit badly, in one way or another."""
    raw = rng.standard_normal((count, DIMENSION))
    if kind == "spikes":  # one number makes the scale, all others are rounded away
        raw *= 1e-4
        raw[np.arange(count), rng.integers(0, DIMENSION, count)] = 1.0
    elif kind == "near":  # apart by less than a code
        raw = rng.standard_normal(DIMENSION) + raw * 1e-4
    elif kind == "same":
        raw = np.repeat(raw[:3], count // 3 + 1, axis=0)[:count]
    elif kind == "lengths":
        raw *= 10.0 ** rng.uniform(-10, 10, (count, 1))
    return raw.astype("f4")


@pytest.mark.parametrize("kind", ["random", "spikes", "near", "same", "lengths"])
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 900),
    k=st.integers(1, 40),
    share=st.sampled_from([None, 0.0, 0.02, 0.3, 0.9]),
)
def test_nothing_nearer_is_left_out(
    kind: str, seed: int, count: int, k: int, share: float | None
) -> None:
    rng = np.random.default_rng(seed)
    raw = hostile(kind, rng, count + 1)
    question, raw = raw[-1], raw[:-1]
    vectors = Vectors(DIMENSION, capacity=8)
    for start in range(0, count, 100):
        vectors.put(np.arange(start, min(count, start + 100)), raw[start : start + 100])
    among = None if share is None else rng.random(count) < share
    expected = distances(raw, question)
    allowed = np.arange(count) if among is None else np.flatnonzero(among)
    exact = question.astype("f8")
    rows, found = vectors.nearest(exact, float(np.linalg.norm(exact)), k, among)
    np.testing.assert_allclose(found, np.sort(expected[allowed])[:k], atol=ROUNDED)
    np.testing.assert_allclose(expected[rows], found, atol=ROUNDED)
    assert found == sorted(found)
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(allowed.tolist())


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["random", "spikes", "near"]))
def test_the_bound_holds_for_each_vector(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    unit = hostile(kind, rng, 40).astype("f8")
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    codes, scales, errors = encoded(unit)
    question = (codes[0].astype("i8"), scales[0], errors[0])
    approximate = scales * question[1] * (codes.astype("i8") @ question[0])
    bound = errors + question[2] * (1.0 + errors)
    assert (np.abs(unit @ unit[0] - approximate) <= bound).all()


@given(
    values=st.lists(st.floats(-1, 1), min_size=2, max_size=400),
    k=st.integers(1, 20),
)
def test_at_least_k_values_reach_the_bound(values: list[float], k: int) -> None:
    k = min(k, len(values))
    table = np.array(values)
    assert np.count_nonzero(table >= at_least_kth(table, k)) >= k


@pytest.mark.parametrize("count", [SUMMED_ROWS - 1, SUMMED_ROWS])
def test_a_filter_leaves_the_looks_of_its_rows_alone(count: int) -> None:
    rng = np.random.default_rng(count)
    looks, among = rng.standard_normal(count), rng.random(count) < 0.3
    expected = np.where(among, looks, EXCLUDED)
    exclude(looks, among)
    np.testing.assert_array_equal(looks, expected)
