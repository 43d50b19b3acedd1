"""Vectors: from JSON to little-endian float32 bytes, which is how Redis keeps and compares them."""

import base64
import binascii
import math
import sys
from array import array

import numpy as np
import pybase64
from numpy.typing import NDArray

BYTES_PER_COMPONENT = 4
_FLOAT32 = np.dtype("<f4")

# The engine sums squares in float32. Outside these norms the sum under- or overflows and the
# distance would be meaningless, so such a vector is refused like one of zeros.
MIN_SQUARED_NORM = 1e-30
MAX_SQUARED_NORM = 1e36


def pack(values: list[float]) -> bytes:
    """Numbers to float32 bytes (4 * len(values)). Raises ValueError as `check` does."""
    packed = array("f", values)
    if sys.byteorder == "big":
        packed.byteswap()
    return check(packed.tobytes())


def from_base64(text: str) -> bytes:
    """Base64 of little-endian float32 numbers to those bytes.

    Raises ValueError when it is not base64, not a whole number of float32, or as `check` does.
    """
    try:
        raw: bytes = pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("must be base64 of little-endian float32 numbers") from error
    if len(raw) % BYTES_PER_COMPONENT:
        raise ValueError(f"must decode to whole float32 numbers of 4 bytes, got {len(raw)} bytes")
    return check(raw)


def to_base64(raw: bytes) -> str:
    """Float32 bytes to base64, bit for bit."""
    return base64.b64encode(raw).decode("ascii")


def base64_characters(dimension: int) -> int:
    """How long a vector of this dimension is as base64, padding included."""
    return 4 * math.ceil(dimension * BYTES_PER_COMPONENT / 3)


def to_array(raw: bytes) -> NDArray[np.float32]:
    """Float32 bytes to a read-only array of shape (n,)."""
    return np.frombuffer(raw, _FLOAT32)


def dimension_of(raw: bytes) -> int:
    """How many components these float32 bytes hold."""
    return len(raw) // BYTES_PER_COMPONENT


def check(raw: bytes) -> bytes:
    """Return `raw` if the cosine distance is defined for it.

    Raises ValueError for an empty vector, NaN, infinity, all zeros, and norms that float32
    cannot square.
    """
    vector = to_array(raw)
    # vdot says nothing of an overflow; to silence dot took longer than the sum itself.
    squared_norm = float(np.vdot(vector, vector))
    if MIN_SQUARED_NORM <= squared_norm <= MAX_SQUARED_NORM:
        return raw
    if not np.isfinite(vector).all():
        raise ValueError("must hold finite float32 numbers, no NaN and no infinity")
    if not vector.any():
        raise ValueError("must not be empty or all zeros: it has no direction to compare")
    low, high = math.sqrt(MIN_SQUARED_NORM), math.sqrt(MAX_SQUARED_NORM)
    raise ValueError(f"must have a norm between {low:g} and {high:g}: scale it")
