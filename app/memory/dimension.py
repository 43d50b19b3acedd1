"""Every vector has the service's dimension."""

from app.errors import InvalidInput
from app.vectors import dimension_of


def require_dimension(vector: bytes, dimension: int, field: str) -> None:
    """Raise InvalidInput when the vector (float32 bytes) has another dimension."""
    found = dimension_of(vector)
    if found != dimension:
        raise InvalidInput(
            f"{field}: must hold {dimension} numbers, got {found}.",
            field=field,
        )
