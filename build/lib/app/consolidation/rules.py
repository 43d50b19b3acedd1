"""When a pattern is promoted, and when it is not to be leaned on any more: changes as a table."""

from dataclasses import dataclass
from enum import StrEnum

from app.consolidation.statistics import RewardStatistics


class Status(StrEnum):
    """How far a pattern may be leaned on."""

    CANDIDATE = "candidate"
    PROMOTED = "promoted"
    DEPRECATED = "deprecated"


class Finding(StrEnum):
    """What a pattern's newest memories say of it."""

    STRONG = "strong"
    WEAK = "weak"
    FALLEN = "fallen"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class PatternRules:
    """Promoted: at least so many memories and such a Sharpe ratio. Deprecated: a Sharpe ratio that
    fell by more than `fall` below that of its promotion, or no memories near it any more."""

    min_memories: int
    min_sharpe_ratio: float
    fall: float

    def finding(
        self, statistics: RewardStatistics | None, promoted_sharpe_ratio: float | None
    ) -> Finding:
        """What these statistics (None: there is no cluster) say of a pattern.

        `promoted_sharpe_ratio`: its Sharpe ratio when it was promoted; None: it never was.
        """
        if statistics is None:
            return Finding.GONE
        sharpe_ratio = statistics.sharpe_ratio
        if promoted_sharpe_ratio is not None and sharpe_ratio < promoted_sharpe_ratio - self.fall:
            return Finding.FALLEN
        has_support = statistics.n >= self.min_memories
        return (
            Finding.STRONG
            if has_support and sharpe_ratio >= self.min_sharpe_ratio
            else (Finding.WEAK)
        )


TRANSITIONS = {
    (Status.CANDIDATE, Finding.STRONG): Status.PROMOTED,
    (Status.CANDIDATE, Finding.WEAK): Status.CANDIDATE,
    (Status.CANDIDATE, Finding.FALLEN): Status.DEPRECATED,
    (Status.CANDIDATE, Finding.GONE): Status.DEPRECATED,
    (Status.PROMOTED, Finding.STRONG): Status.PROMOTED,
    (Status.PROMOTED, Finding.WEAK): Status.PROMOTED,  # until it has fallen
    (Status.PROMOTED, Finding.FALLEN): Status.DEPRECATED,
    (Status.PROMOTED, Finding.GONE): Status.DEPRECATED,
    (Status.DEPRECATED, Finding.STRONG): Status.PROMOTED,
    (Status.DEPRECATED, Finding.WEAK): Status.DEPRECATED,
    (Status.DEPRECATED, Finding.FALLEN): Status.DEPRECATED,
    (Status.DEPRECATED, Finding.GONE): Status.DEPRECATED,
}
