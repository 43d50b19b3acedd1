"""The moment of which a question is asked, and whether it must name one.

`as_of=T` is a question of what was known at T. A backtest must never ask another: a caller whose
key is marked so, and everybody where MEMORY_REQUIRE_AS_OF is set, is refused without it.
"""

from app.access import caller
from app.errors import InvalidInput


def checked(as_of: float | None) -> float | None:
    """The moment that a question names. Raises InvalidInput when it must name one."""
    if as_of is None and caller.get().require_as_of:
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
    if caller.get().require_as_of:
        raise InvalidInput(
            f"as_of: is required here, and {what} knows only the present: use a service or key "
            "that does not require it.",
            field="as_of",
        )
