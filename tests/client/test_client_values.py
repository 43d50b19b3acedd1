"""Vectors and times of all kinds: read right, or refused before anything is sent."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from coinswarm_memory import InvalidNumber, InvalidRows, InvalidTime, InvalidVector
from coinswarm_memory.encode.experience import completed
from coinswarm_memory.encode.times import shown, unix_seconds
from coinswarm_memory.encode.vectors import matrix, require_rows, vector
from coinswarm_memory.operations.fields import contract_fields

NUMBERS = [0.5, -1.25, 3.0]


class Torchlike:
    """Answers `__array__` as a tensor on the CPU does, and cannot while it needs a gradient."""

    def __init__(self, needs_gradient: bool = False) -> None:
        self._needs_gradient = needs_gradient

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.float32]:
        if self._needs_gradient:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        return np.array(NUMBERS, np.float32)


class Jaxlike:
    """Hands its memory over by DLPack alone."""

    _array = np.array(NUMBERS, np.float64)

    def __dlpack__(self, **options: Any) -> object:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()


@pytest.mark.parametrize(
    "value",
    [
        NUMBERS,
        tuple(NUMBERS),
        *(np.array(NUMBERS, kind) for kind in ("f2", "f4", "f8", ">f4", "g")),
        np.array([*NUMBERS, 9.0])[:3],
        np.array([[x, 0] for x in NUMBERS])[:, 0],
        pd.Series(NUMBERS),
        Torchlike(),
        Jaxlike(),
    ],
)
def test_every_kind_of_array_is_the_same_vector(value: Any) -> None:
    packed = vector(value, "state", 3)
    assert packed.dtype == np.dtype("<f4")
    assert packed.tobytes() == np.array(NUMBERS, "<f4").tobytes()


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([1.0, float("nan"), 2.0], r"state\[1\] is nan"),
        ([1.0, 2.0, float("-inf")], r"state\[2\] is -inf"),
        ([1.0, 1e39, 2.0], r"state\[1\] is inf as float32"),
        ([0, 0, 0], "all zeros"),
        ([1e-20] * 3, "norm"),
        ([1.0, 2.0], "must hold 3 numbers, got 2"),
        ([[1.0, 2.0, 3.0]], r"one vector, got an array of shape \(1, 3\)"),
        (["a", "b", "c"], "real numbers"),
        ([1.0, None, 2.0], "NoneType at position 1"),
        ([1.0, [2.0], 3.0], "one shape"),
        ([True, False, True], "bool"),
        ([1j, 2, 3], "complex"),
        (Torchlike(needs_gradient=True), "detached"),
        (None, "NoneType"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_its_position(value: Any, sentence: str) -> None:
    with pytest.raises(InvalidVector, match=sentence):
        vector(value, "state", 3)


def test_a_row_is_named_by_its_number_too() -> None:
    table = np.ones((4, 3))
    table[2, 1] = np.nan
    with pytest.raises(InvalidVector, match=r"states\[2\]\[1\] is nan"):
        require_rows(matrix(table, "states", 3), "states")


@pytest.mark.parametrize(
    "value",
    [
        1577836800,
        1577836800.0,
        np.float64(1577836800),
        "2020-01-01",
        "2020-01-01T00:00:00Z",
        "2020-01-01T01:00:00+01:00",
        date(2020, 1, 1),
        datetime(2020, 1, 1, tzinfo=UTC),
        datetime(2019, 12, 31, 19, tzinfo=timezone(-timedelta(hours=5))),
        np.datetime64("2020-01-01"),
        np.datetime64("2020-01-01T00:00:00.000000000"),
        pd.Timestamp("2020-01-01", tz="UTC"),
        pd.Timestamp("2019-12-31 19:00", tz="America/New_York"),
    ],
)
def test_every_kind_of_time_is_the_same_moment(value: Any) -> None:
    assert unix_seconds(value) == 1577836800.0


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (datetime(2020, 1, 1), "no time zone.*value.replace"),  # noqa: DTZ001 - what is refused
        (pd.Timestamp("2020-01-01"), "no time zone"),
        ("2020-01-01T10:00:00", "no time zone"),
        ("yesterday", "ISO 8601"),
        (1577836800000, "not milliseconds"),
        (float("nan"), "finite"),
        (np.datetime64("NaT"), "missing"),
        (pd.NaT, "missing"),
        (True, "must be a time"),
        (None, "NoneType"),
    ],
)
def test_a_time_that_could_mean_two_moments_is_refused(value: Any, sentence: str) -> None:
    with pytest.raises(InvalidTime, match=sentence):
        unix_seconds(value)


def test_numbers_that_json_lacks_are_refused_and_those_of_numpy_are_read() -> None:
    refused: tuple[dict[str, Any], ...] = (
        {"min_reward": float("nan")},
        {"max_distance": np.float32("inf")},
        {"metadata": {"a": [{"b": float("nan")}]}},
    )
    for given in refused:
        with pytest.raises(InvalidNumber, match=r"must be finite"):
            contract_fields(given)
    for reward in ("1", 10**400):
        with pytest.raises(InvalidRows, match="reward must be a number"):
            completed("a", {"reward": reward})
    read = {"metadata": {"a": np.float32(0.5), "b": np.arange(2)}, "product": np.array(["x"])}
    assert contract_fields(read) == {"metadata": {"a": 0.5, "b": [0, 1]}, "product_id": ["x"]}


def test_times_of_any_year_are_shown() -> None:
    assert [shown(s) for s in (-1e11, -0.5, 1577836800.0)] == [
        "-1199-02-15 14:13:20",
        "1969-12-31 23:59:59",
        "2020-01-01 00:00:00",
    ]
