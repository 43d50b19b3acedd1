"""Names that the client makes or fills in."""

import os

UNKNOWN = "unknown"
"""The product and the regime of an experience whose caller names none."""


def new_id() -> str:
    """Return an id that nobody else has. It lets a store be repeated without storing twice."""
    return os.urandom(16).hex()
