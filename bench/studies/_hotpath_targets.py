"""What is asked of the hot path, each with its figure, met or not."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.studies._hotpath_rows import (
    ASYNCIO,
    CHROMA,
    OWN_CLIENT,
    QDRANT,
    SERVICE,
    SYNC,
    Figure,
    Row,
    Side,
    median_of,
    rows_of,
)

MAX_SINGLE_RATIO = 2.2
MIN_RATE_SHARES = {16: 0.45, 50: 0.5}
"""By number of clients."""
MAX_TAIL = 3.0
MIN_CHROMA_RATIO = 10.0
MAX_QDRANT_RATIO = 1.0

RECALL_TOLERANCE = 0.01
"""Recalls that differ by no more are equal. A side with less has less to do for its answers."""

_PEER_CLIENTS = (1, 16)


@dataclass(frozen=True, slots=True)
class Target:
    """A figure against its limit, which is the least or the most. `why`: why it was not judged."""

    name: str
    kind: str
    limit: float
    is_least: bool
    measured: float | None
    why: str | None = None

    @property
    def is_met(self) -> bool:
        """What was not judged is not met."""
        if self.measured is None or self.why is not None:
            return False
        return self.measured >= self.limit if self.is_least else self.measured <= self.limit


def targets(rows: Sequence[Row], sides: Sequence[Side]) -> list[Target]:
    """Return each target, on each kind of vectors that was measured."""
    return [
        target
        for kind in dict.fromkeys(row.kind for row in rows)
        for target in (*_against_redis(rows, kind), *_tails(rows, kind), *_peers(rows, sides, kind))
    ]


def _against_redis(rows: Sequence[Row], kind: str) -> list[Target]:
    single = _ratio(rows, kind, 1, SYNC, lambda f: f.p50_ms)
    found = [Target("one client: P50 against redis-py's", kind, MAX_SINGLE_RATIO, False, single)]
    for clients, least in MIN_RATE_SHARES.items():
        share = _ratio(rows, kind, clients, ASYNCIO, lambda f: f.rate)
        name = f"{clients} clients: q/s against redis-py's asyncio client's"
        found.append(Target(name, kind, least, True, share))
    return found


def _tails(rows: Sequence[Row], kind: str) -> list[Target]:
    return [
        Target(
            f"{clients} client{'s' if clients > 1 else ''}: P99 against P50",
            kind,
            MAX_TAIL,
            False,
            median_of(rows_of(rows, kind, 1, SERVICE, clients), lambda f: f.p99_ms / f.p50_ms),
        )
        for clients in (1, 16, 50)
    ]


def _peers(rows: Sequence[Row], sides: Sequence[Side], kind: str) -> list[Target]:
    by_way = {side.way: side for side in sides if side.kind == kind}
    why_chroma, why_qdrant = (_why_not(by_way[SERVICE], by_way[w]) for w in (CHROMA, QDRANT))
    return [
        Target(
            "1 or 16 clients, each side's best: q/s against Chroma's server, filter by agent",
            kind,
            MIN_CHROMA_RATIO,
            True,
            None if by_way[CHROMA].not_run else _chroma_ratio(rows, kind),
            why_chroma,
        ),
        Target(
            "one client: P50 against Qdrant's engine in process, filter by agent",
            kind,
            MAX_QDRANT_RATIO,
            False,
            None if by_way[QDRANT].not_run else _ratio(rows, kind, 1, QDRANT, lambda f: f.p50_ms),
            why_qdrant,
        ),
    ]


def _why_not(service: Side, peer: Side) -> str | None:
    """Say why there is no verdict. A peer of less recall has the advantage, so it may have one."""
    if peer.not_run is not None:
        return peer.not_run
    if service.recall < peer.recall - RECALL_TOLERANCE:
        return f"recall {service.recall:.3f} against {peer.recall:.3f}"
    return None


def _chroma_ratio(rows: Sequence[Row], kind: str) -> float:
    """Compare each side's most answers a second in a round, at any number of clients."""

    def best(ways: Sequence[str], number: int) -> float:
        return max(
            row.figures.rate
            for way in ways
            for clients in _PEER_CLIENTS
            for row in rows_of(rows, kind, 1, way, clients)
            if row.round == number
        )

    numbers = dict.fromkeys(row.round for row in rows)
    return median(
        best([SERVICE], number) / best([CHROMA, CHROMA + OWN_CLIENT], number) for number in numbers
    )


def _ratio(rows: Sequence[Row], kind: str, clients: int, other: str, figure: Figure) -> float:
    """Divide the service's figure, of one worker, by the other's of the same round."""
    over_http = rows_of(rows, kind, 1, SERVICE, clients)
    others = rows_of(rows, kind, 1, other, clients)
    return median(
        figure(a.figures) / figure(b.figures) for a, b in zip(over_http, others, strict=True)
    )
