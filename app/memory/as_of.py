"""The moment of which a question is asked, and whether it must name one.

`as_of=T` is a question of what was known at T. A backtest must never ask another: for a request
that is marked so, by the setting MEMORY_REQUIRE_AS_OF or by whoever admits the caller, a question
without it is refused.
"""

from contextvars import ContextVar

from app.errors import InvalidInput

_is_required: ContextVar[bool] = ContextVar("as_of_is_required", default=False)


def require_as_of() -> None:
    """The request that is being served may only ask of what was known at a moment it names."""
    _is_required.set(True)


def checked(as_of: float | None) -> float | None:
    """The moment that a question names. Raises InvalidInput when it must name one."""
    if as_of is None and _is_required.get():
        raise InvalidInput(
            "as_of: is required here: name the moment (unix seconds) whose knowledge may answer.",
            field="as_of",
        )
    return as_of


def was_known(timestamp: float, outcome_at: float | None, as_of: float) -> bool:
    """Whether an experience with these times existed for a question of this moment."""
    return outcome_at is not None and outcome_at <= as_of and timestamp <= as_of


def refuse_present(what: str) -> None:
    """Refuse what answers with the memory as it is now. Raises InvalidInput where as_of is due."""
    if _is_required.get():
        raise InvalidInput(
            f"as_of: is required here, and {what} knows only the present: use a service or key "
            "that does not require it.",
            field="as_of",
        )
