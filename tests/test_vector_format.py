"""Float16: what may be stored so, how it is rounded, and that it comes back."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.vectors import MAX_LOSS, VectorFormat, check, to_array

numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
scales = st.integers(-40, 20).map(lambda power: 2.0**power)


def float32(values: list[float], scale: float = 1.0) -> bytes:
    return np.multiply(values, scale).astype("<f4").tobytes()


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=600), scales)
@example([6e-8] * 2, 1.0)
@example([65504.0, 1e-7], 1.0)
@example([1e-5, 1e-5], 1.0)
def test_what_is_accepted_keeps_its_direction_and_the_rest_would_not(
    values: list[float], scale: float
) -> None:
    raw = float32(values, scale)
    try:
        check(raw)
    except ValueError:
        return
    stored_as = VectorFormat(len(values), "float16")
    exact = to_array(raw).astype("f8")
    with np.errstate(over="ignore"):
        rounded = exact.astype("f2").astype("f8")
    loss = np.linalg.norm(exact - rounded) / np.linalg.norm(exact)
    try:
        stored_as.require_fit(raw)
    except ValueError:
        assert np.abs(exact).max() > 65504 or loss > MAX_LOSS * 0.999
    else:
        assert rounded.any()
        assert loss <= MAX_LOSS * 1.001
        stored = stored_as.encode(raw)
        assert len(stored) == 2 * len(values)
        assert np.array_equal(to_array(stored_as.decode(stored)), rounded)
        assert stored_as.encode(stored_as.decode(stored)) == stored


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([65505.0, 1.0], "from -65504 to 65504"),
        ([-1e9, 1.0], "from -65504 to 65504"),
        ([1e-8, -1e-8], "too small"),
        ([3e-7, 1e-7], "too small"),
        ([1.0], "must hold 2 numbers, got 1"),
    ],
)
def test_what_float16_cannot_hold_is_refused(values: list[float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        VectorFormat(2, "float16").require_fit(float32(values))


@pytest.mark.parametrize(
    "values", [[65504.0, -65504.0], [2.0**-24, 0.0], [1e4, 1e-9], [6.1e-5, 6.1e-5]]
)
def test_what_it_can_hold_is_not(values: list[float]) -> None:
    VectorFormat(2, "float16").require_fit(float32(values))


def test_float32_is_stored_as_it_is() -> None:
    raw = float32([1e-9, 1e9])
    stored_as = VectorFormat(2)
    stored_as.require_fit(raw)
    assert stored_as.decode(stored_as.encode(raw)) == raw
