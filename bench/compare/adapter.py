"""What a database has to do to be compared."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.compare.http_search import HttpSearch
from bench.recall import TOP_K

# HNSW's parameters wherever they can be set: the specification's.
HNSW_M = 16
HNSW_EF_CONSTRUCTION = 200

HNSW_EFS = (64, 128, 256, 512, 1024)
"""EF is raised until recall is MIN_RECALL: databases are compared at the same quality."""

MIN_RECALL = 0.95

BATCH = 500


class CannotRun(Exception):
    """The database is not to be had here; the message says why."""


class SearchClient(Protocol):
    """One caller's connection. Used by one thread."""

    def search(self, vector: NDArray[np.float32], agent: int) -> Sequence[int]:
        """Return the rows of the TOP_K nearest memories of that agent."""


class ClientFactory(Protocol):
    """Opens connections to a server. It is pickled: the callers are processes of their own.

    `modules` are what `client` imports: imported once, before the callers' processes begin.
    """

    modules: ClassVar[tuple[str, ...]]

    def client(self) -> SearchClient:
        """Open one caller's connection."""


class Adapter(ABC):
    """A database. A memory is a row number, a vector and the number of its agent.

    `index`, set by the end of `load` at the latest, says how the search is done.
    """

    name: ClassVar[str]
    way: ClassVar[str]
    """How it is reached: in process, a server on loopback, ..."""

    package: ClassVar[str] = ""
    """The package whose version is the database's."""

    has_cache: ClassVar[bool] = False
    """Whether a question that is asked again may be answered from memory of the first answer."""

    index = ""

    ef: int | None = None
    """Set by adapters whose EF can be raised between searches; clients made later use it."""

    @abstractmethod
    def start(self, folder: Path, dimension: int) -> None:
        """Begin with an empty database in `folder`. Raises CannotRun."""

    @abstractmethod
    def load(self, vectors: NDArray[np.float32], agents: NDArray[np.int64]) -> None:
        """Store (n, d) `vectors` with the (n,) `agents`; return when the indexes are built."""

    @abstractmethod
    def client(self) -> SearchClient:
        """Open a connection for one more thread."""

    def client_factory(self) -> ClientFactory | None:
        """Return how other processes reach a loaded server, or None if the engine is in this
        one."""
        return None

    def http_search(self) -> HttpSearch | None:
        """Return how to ask a loaded server without its client library, or None if one cannot."""
        return None

    def process_ids(self) -> list[int]:
        """Return the database's own processes; none if it runs within this one."""
        return []

    def stop(self) -> None:  # noqa: B027 - most have nothing to end
        """End what `start` began."""


def agent_name(agent: int) -> str:
    """Return the value to filter by."""
    return f"agent-{agent:04d}"


def batches(count: int, size: int = BATCH) -> list[slice]:
    """Yield consecutive slices that cover `count` rows."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


__all__ = [
    "BATCH",
    "HNSW_EFS",
    "HNSW_EF_CONSTRUCTION",
    "HNSW_M",
    "MIN_RECALL",
    "TOP_K",
    "Adapter",
    "CannotRun",
    "ClientFactory",
    "SearchClient",
    "agent_name",
    "batches",
]
