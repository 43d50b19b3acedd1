"""Whether this process is about to end: then no connection is kept for another request."""

_is_draining = False


def begin() -> None:
    """From now on each answer closes its connection."""
    global _is_draining  # noqa: PLW0603 - one process ends once
    _is_draining = True


def has_begun() -> bool:
    """Whether the process is about to end."""
    return _is_draining
