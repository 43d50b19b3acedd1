"""A figure against its limit, and how busy the machine was where it missed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """`measured` against `limit`: `is_most` when it must not be more, else it must not be less.

    `others`: processors that other programs kept busy meanwhile. `case`: which of several it is of.
    """

    target: str
    limit: float
    measured: float
    others: float
    is_most: bool = True
    case: str = ""

    @property
    def is_met(self) -> bool:
        """Whether it is."""
        return self.measured <= self.limit if self.is_most else self.measured >= self.limit

    def words(self, load_at_start: float) -> str:
        """Return PASS, or FAIL with how busy the machine was."""
        if self.is_met:
            return "PASS"
        return (
            f"FAIL (other programs kept up to {self.others:.2f} processors busy; "
            f"load average {load_at_start:.2f} at the start)"
        )
