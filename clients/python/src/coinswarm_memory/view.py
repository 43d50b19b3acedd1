"""The moment that a client asks as of."""

from dataclasses import dataclass

from coinswarm_memory.encode.times import TimeLike, unix_seconds
from coinswarm_memory.errors import LookAhead, ReadOnlyView


@dataclass(frozen=True, slots=True)
class View:
    """What may be seen: everything, or what was known at `as_of` (unix seconds)."""

    as_of: float | None = None

    def at(self, moment: TimeLike) -> "View":
        """Return the view of a moment. Raises LookAhead for one that is later than this view's."""
        return View(self.bounded(moment))

    def bounded(self, as_of: TimeLike | None) -> float | None:
        """Return the moment of a question. Raises LookAhead when it is later than the view's."""
        if as_of is None:
            return self.as_of
        asked = unix_seconds(as_of, "as_of")
        if self.as_of is not None and asked > self.as_of:
            raise LookAhead(f"as_of {asked:.0f} is later than this view's moment {self.as_of:.0f}")
        return asked

    def require_present(self, what: str) -> None:
        """Raise ReadOnlyView in a view of the past."""
        if self.as_of is not None:
            raise ReadOnlyView(
                f"{what} is not possible in a view of the past: use the memory, not memory.at()"
            )
