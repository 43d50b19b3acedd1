"""Vectors: from JSON to little-endian float32 bytes, and from those to what Redis stores.

Every vector has the service's dimension and numbers that can be stored.
"""

import base64
import binascii
import math
import sys
from array import array
from dataclasses import dataclass

import numpy as np
import pybase64
from numpy.typing import NDArray

from app.errors import InvalidInput
from app.settings import VectorType

BYTES_PER_COMPONENT = 4
_FLOAT32 = np.dtype("<f4")
_FLOAT16 = np.dtype("<f2")

# The engine sums squares in float32. Outside these norms the sum under- or overflows and the
# distance would be meaningless, so such a vector is refused like one of zeros.
MIN_SQUARED_NORM = 1e-30
MAX_SQUARED_NORM = 1e36

MIN_FLOAT32, MAX_FLOAT32 = 1e-30, 1e30
"""Nearly every vector's numbers lie in this range; bytes misread as float64 hardly ever do."""

MAX_FLOAT16 = 65504.0
MIN_NORMAL_FLOAT16 = 2.0**-14
"""Smaller numbers lose some of their 11 bits; those below 2^-25 lose all."""
MAX_LOSS = 2.0**-10
"""The largest rounding error, as a share of the vector's length.

It is twice the error of numbers that keep all their bits.
"""


@dataclass(frozen=True, slots=True)
class VectorFormat:
    """How vectors are stored in Redis. Everywhere else they are float32 bytes."""

    dimension: int
    type: VectorType = "float32"

    @property
    def engine_type(self) -> str:
        """Return the query engine's name for the type."""
        return self.type.upper()

    @property
    def stored_bytes(self) -> int:
        """Return the size of one stored vector in bytes."""
        return self.dimension * (BYTES_PER_COMPONENT if self.type == "float32" else 2)

    @property
    def same_distance(self) -> float:
        """Return the cosine distance that rounding may leave between two identical vectors.

        The engine's float32 sums depend on their order. For float16 it also rounds each number when
        it normalises a vector, by up to 2^-11 of its size on either side.
        """
        return 1e-6 if self.type == "float32" else 2.0**-10

    def encode(self, raw: bytes) -> bytes:
        """Return float32 bytes in the stored form, rounded to nearest, ties to even."""
        return raw if self.type == "float32" else to_array(raw).astype(_FLOAT16).tobytes()

    def decode(self, stored: bytes) -> bytes:
        """Return stored bytes as float32 bytes. Exact: encoding them gives the same bytes again."""
        if self.type == "float32":
            return stored
        return np.frombuffer(stored, _FLOAT16).astype(_FLOAT32).tobytes()

    def require_fit(self, raw: bytes) -> None:
        """Raise ValueError for float32 bytes that cannot be stored without changing direction."""
        found = dimension_of(raw)
        if found != self.dimension:
            hint = ""
            if found == 2 * self.dimension:
                hint = " numbers of float32: are these float64? Send float32"
            raise ValueError(f"must hold {self.dimension} numbers, got {found}{hint}")
        if self.type == "float16":
            _require_float16(to_array(raw))


def pack(values: list[float]) -> bytes:
    """Return the numbers as float32 bytes, 4 * len(values). Raise ValueError as `check` does."""
    packed = array("f", values)
    if sys.byteorder == "big":
        packed.byteswap()
    return check(packed.tobytes())


def from_base64(text: str) -> bytes:
    """Decode base64 of little-endian float32 numbers.

    Raise ValueError if it is not base64, not a whole number of float32, or as `check` does.
    """
    try:
        raw: bytes = pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("must be base64 of little-endian float32 numbers") from error
    if len(raw) % BYTES_PER_COMPONENT:
        raise ValueError(f"must decode to whole float32 numbers of 4 bytes, got {len(raw)} bytes")
    try:
        return check(raw)
    except ValueError as error:
        if not _are_float64(raw):
            raise
        raise ValueError(
            f"holds {dimension_of(raw)} numbers of float32: are these float64? Send "
            "base64 of little-endian float32 numbers"
        ) from error


def _are_float64(raw: bytes) -> bool:
    """Return whether bytes that make no float32 vector make one of float64."""
    if not raw or len(raw) % 8:
        return False
    sizes = np.abs(np.frombuffer(raw, "<f8"))
    return bool(np.isfinite(sizes).all() and 0 < sizes.max() <= MAX_FLOAT32) and bool(
        ((sizes == 0) | (sizes >= MIN_FLOAT32)).all()
    )


def to_base64(raw: bytes) -> str:
    """Return float32 bytes as base64, bit for bit."""
    return base64.b64encode(raw).decode("ascii")


def base64_characters(dimension: int) -> int:
    """Return the length of such a vector as base64, padding included."""
    return 4 * math.ceil(dimension * BYTES_PER_COMPONENT / 3)


def to_array(raw: bytes) -> NDArray[np.float32]:
    """Return float32 bytes as a read-only array of shape (n,)."""
    return np.frombuffer(raw, _FLOAT32)


_NEGATIVE_ZERO = b"\x00\x00\x00\x80"


def without_negative_zeros(raw: bytes) -> bytes:
    """Return the same float32 numbers, each -0.0 as 0.0."""
    if _NEGATIVE_ZERO not in raw:
        return raw
    return (to_array(raw) + np.float32(0)).astype(_FLOAT32).tobytes()


def dimension_of(raw: bytes) -> int:
    """Return how many components these float32 bytes hold."""
    return len(raw) // BYTES_PER_COMPONENT


def check(raw: bytes) -> bytes:
    """Return `raw` if the cosine distance is defined for it.

    Raise ValueError for an empty vector, NaN, infinity, all zeros, and norms that float32 cannot
    square.
    """
    vector = to_array(raw)
    # vdot does not warn of an overflow; suppressing dot's warning took longer than the sum itself.
    squared_norm = float(np.vdot(vector, vector))
    if MIN_SQUARED_NORM <= squared_norm <= MAX_SQUARED_NORM:
        return raw
    if not np.isfinite(vector).all():
        raise ValueError("must hold finite float32 numbers, no NaN and no infinity")
    if not vector.any():
        raise ValueError("must not be empty or all zeros: it has no direction to compare")
    low, high = math.sqrt(MIN_SQUARED_NORM), math.sqrt(MAX_SQUARED_NORM)
    raise ValueError(f"must have a norm between {low:g} and {high:g}: scale it")


def _require_float16(vector: NDArray[np.float32]) -> None:
    squared_norm = float(np.vdot(vector, vector))
    # Between these, no number is too large and rounding costs at most 0.7 of MAX_LOSS.
    if vector.size * MIN_NORMAL_FLOAT16**2 <= squared_norm <= MAX_FLOAT16**2:
        return
    if float(np.abs(vector).max()) > MAX_FLOAT16:
        raise ValueError(
            f"must hold numbers from -{MAX_FLOAT16:g} to {MAX_FLOAT16:g}, because they are stored "
            "as float16 (MEMORY_VECTOR_TYPE): scale it"
        )
    lost = vector - vector.astype(_FLOAT16).astype(_FLOAT32)
    if float(np.vdot(lost, lost)) > MAX_LOSS**2 * squared_norm:
        raise ValueError(
            "holds numbers too small for float16 (MEMORY_VECTOR_TYPE), which would change its "
            "direction: scale it"
        )


def require_fit(vector: bytes, stored_as: VectorFormat, field: str) -> None:
    """Raise InvalidInput if the vector (float32 bytes) does not fit this format."""
    try:
        stored_as.require_fit(vector)
    except ValueError as error:
        raise InvalidInput(f"{field}: {error}.", field=field) from error
