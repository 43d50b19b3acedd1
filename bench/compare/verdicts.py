"""What the comparison has to show, and whether it did."""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.compare.summary import (
    OURS,
    REFERENCE,
    CaseResult,
    Database,
    Summary,
    p50_ms,
    per_second,
    ratio,
)
from bench.verdict import Verdict

MOST_OF_REDIS_P50 = 2.2
"""One caller's P50 through the service, against redis-py's on the same data."""

LEAST_OF_REDIS_RATE = {10: 0.45, 50: 0.5}
"""Searches a second through the service against Redis alone, by the number of callers."""

RIVALS = ("chroma", "pgvector", "milvus-lite", "lancedb")
"""Databases that filter by the tenant: the service must be faster than each of them."""

MIN_RECALL = 0.999


def verdicts(summary: Summary) -> list[Verdict]:
    """Return the verdicts of every case in which the service was measured."""
    return [verdict for result in summary.cases for verdict in _of_case(result)]


def _of_case(result: CaseResult) -> Iterator[Verdict]:
    ours, redis = result.find(OURS), result.find(REFERENCE)
    if ours is None:
        return
    case = str(result.case)
    yield Verdict("recall@10", MIN_RECALL, ours.recall, others=0.0, is_most=False, case=case)
    if redis is not None:
        pair = _Pair(case, ours, redis)
        yield pair.p50(1, MOST_OF_REDIS_P50)
        for callers, least in LEAST_OF_REDIS_RATE.items():
            yield pair.rate(callers, least)
    for rival in filter(None, map(result.find, RIVALS)):
        for callers in sorted({each.callers for each in rival.measured}):
            yield _Pair(case, ours, rival).rate(callers, 1.0)


@dataclass(frozen=True, slots=True)
class _Pair:
    """The service and another database, asked in the same rounds."""

    case: str
    ours: Database
    other: Database

    def p50(self, callers: int, limit: float) -> Verdict:
        """Require at most `limit` of the other's."""
        target = f"P50 with {callers} caller{'s' * (callers > 1)}, of {self.other.name}'s"
        measured = ratio(self.ours, self.other, callers, p50_ms)
        return Verdict(target, limit, measured, self._others(callers), case=self.case)

    def rate(self, callers: int, limit: float) -> Verdict:
        """Require at least `limit` of the other's."""
        target = f"searches/s with {callers} caller{'s' * (callers > 1)}, of {self.other.name}'s"
        measured = ratio(self.ours, self.other, callers, per_second)
        return Verdict(
            target, limit, measured, self._others(callers), is_most=False, case=self.case
        )

    def _others(self, callers: int) -> float:
        return max(self.ours.others(callers), self.other.others(callers))
