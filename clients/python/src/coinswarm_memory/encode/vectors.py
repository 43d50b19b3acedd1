"""Turn arrays of any library into the float32 that the service stores."""

from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from coinswarm_memory.errors import InvalidVector

Float32Array: TypeAlias = npt.NDArray[np.float32]

# The service compares by cosine and sums squares in float32: outside these norms it refuses.
MIN_SQUARED_NORM, MAX_SQUARED_NORM = 1e-30, 1e36
_FLOAT32 = np.dtype("<f4")
_REAL_KINDS = "fiu"


class SupportsDLPack(Protocol):
    """An array that hands its memory over by DLPack, as those of torch and jax do."""

    def __dlpack__(self) -> Any:
        """Return the capsule."""


class SupportsArray(Protocol):
    """An array that numpy can read, as those of torch and jax."""

    def __array__(self) -> npt.NDArray[Any]:
        """Return it as a numpy array."""


ArrayLike: TypeAlias = npt.ArrayLike | SupportsArray | SupportsDLPack
"""A state, or several: numpy arrays of any float type, lists, arrays of torch and jax."""


def vector(value: ArrayLike, name: str, dimension: int | None) -> Float32Array:
    """Return one state as float32, shape (dimension,).

    Raises InvalidVector for another shape, a number that is not finite, and all zeros; the message
    names the position as `name[17]`.
    """
    packed = one_row(value, name)
    if dimension is not None and len(packed) != dimension:
        raise InvalidVector(f"{name} must hold {dimension} numbers, got {len(packed)}")
    if not MIN_SQUARED_NORM <= float(np.vdot(packed, packed)) <= MAX_SQUARED_NORM:
        raise InvalidVector(fault(packed, name))
    return packed


def one_row(value: ArrayLike, name: str) -> Float32Array:
    """Return one state as float32, of any length. It may still be faulty.

    Raises InvalidVector for another shape.
    """
    if type(value) is np.ndarray and value.dtype == _FLOAT32 and value.ndim == 1:
        return np.ascontiguousarray(value) if value.strides[0] != _FLOAT32.itemsize else value
    found = _numbers(value, name)
    if found.ndim != 1:
        raise InvalidVector(f"{name} must be one vector, got an array of shape {found.shape}")
    return _packed(found)


def matrix(value: ArrayLike, name: str, dimension: int | None) -> Float32Array:
    """Return several states as float32, shape (n, dimension). Rows may still be faulty.

    Raises InvalidVector when it is not a table of numbers of this width.
    """
    found = _numbers(value, name)
    if found.ndim != 2:
        raise InvalidVector(
            f"{name} must be a table of vectors, got an array of shape {found.shape}"
        )
    if dimension is not None and len(found) and found.shape[1] != dimension:
        raise InvalidVector(f"{name} must hold {dimension} numbers a row, got {found.shape[1]}")
    return _packed(found)


def faulty_rows(packed: Float32Array) -> npt.NDArray[np.intp]:
    """Return the numbers of the rows that cannot be compared."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.einsum("ij,ij->i", packed, packed)
    return np.flatnonzero(~((norms >= MIN_SQUARED_NORM) & (norms <= MAX_SQUARED_NORM)))


def fault(packed: Float32Array, name: str) -> str:
    """Say in one sentence why this vector is refused."""
    wrong = np.flatnonzero(~np.isfinite(packed))
    if len(wrong):
        return f"{name}[{wrong[0]}] is {packed[wrong[0]]} as float32: all numbers must be finite"
    if not packed.any():
        return f"{name} is empty or all zeros: it has no direction to compare"
    return f"{name} must have a norm between 1e-15 and 1e18: scale it"


def require_rows(packed: Float32Array, name: str) -> Float32Array:
    """Return the table. Raises InvalidVector naming the first faulty row and position."""
    wrong = faulty_rows(packed)
    if len(wrong):
        raise InvalidVector(fault(packed[wrong[0]], f"{name}[{wrong[0]}]"))
    return packed


def _packed(found: npt.NDArray[Any]) -> Float32Array:
    if found.dtype == _FLOAT32 and found.flags.c_contiguous:
        return found
    # A number beyond float32 becomes infinite and is named by the check that follows.
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(found, dtype=_FLOAT32)


def _numbers(value: ArrayLike, name: str) -> npt.NDArray[Any]:
    found = value if isinstance(value, np.ndarray) else _read(value, name)
    if found.dtype.kind not in _REAL_KINDS:
        raise InvalidVector(f"{name} must hold real numbers, got {_kind(found)}")
    return found


def _read(value: ArrayLike, name: str) -> npt.NDArray[Any]:
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)  # type: ignore[arg-type]
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise InvalidVector(
            f"{name} cannot be read as numbers of one shape ({error}). A tensor must be on the CPU "
            "and detached from its graph."
        ) from error


def _kind(found: npt.NDArray[Any]) -> str:
    if found.dtype.kind == "O":
        for position, item in enumerate(found.flat):
            if not isinstance(item, int | float | np.floating | np.integer):
                return f"{type(item).__name__} at position {position}"
    return str(found.dtype)
