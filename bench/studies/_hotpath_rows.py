"""What `bench.studies.hotpath` measures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.load.http_load import HttpFigures
from bench.studies._raw_redis import RawFigures

SERVICE = "http"
SYNC = "sync"
ASYNCIO = "asyncio"
CHROMA = "chroma"
QDRANT = "qdrant-edge"
OWN_CLIENT = ", own client"
"""Behind the name of a database that was also asked over plain HTTP."""

Figures = RawFigures | HttpFigures
Figure = Callable[[Figures], float]


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. `way`: whom it asked, and how (one of the names above)."""

    kind: str
    workers: int
    round: int
    way: str
    clients: int
    figures: Figures


@dataclass(frozen=True, slots=True)
class Side:
    """Whom a `way` asks, and its recall@10 against brute force. `not_run`: why it has no rows."""

    kind: str
    way: str
    what: str
    recall: float
    not_run: str | None = None


def rows_of(rows: Sequence[Row], kind: str, workers: int, way: str, clients: int) -> list[Row]:
    """Return the rows of one place, in the order of the rounds."""
    place = (kind, workers, way, clients)
    return [row for row in rows if (row.kind, row.workers, row.way, row.clients) == place]


def median_of(rows: Sequence[Row], figure: Figure) -> float:
    """Return the median over the rounds."""
    return median(figure(row.figures) for row in rows)
