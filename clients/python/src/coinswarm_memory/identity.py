"""Names that the client makes or fills in."""

import os

UNKNOWN = "unknown"
"""The product and the regime of an experience whose caller names none."""


def new_id() -> str:
    """Return an id that nobody else has. With it a store can be repeated and doubles nothing."""
    return os.urandom(16).hex()
