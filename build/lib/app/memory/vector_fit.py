"""Every vector has the service's dimension, and numbers that can be stored."""

from app.errors import InvalidInput
from app.vectors import VectorFormat


def require_fit(vector: bytes, stored_as: VectorFormat, field: str) -> None:
    """Raise InvalidInput when the vector (float32 bytes) cannot be stored, or asked for, so."""
    try:
        stored_as.require_fit(vector)
    except ValueError as error:
        raise InvalidInput(f"{field}: {error}.", field=field) from error
