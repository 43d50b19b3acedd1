"""Results of stores and deletions."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A confirmed store. `created` is False if the same memory already existed."""

    id: str
    created: bool
    token: str
    durability: str = "memory"
    agent_id: str | None = None


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """What a deletion by filter found and did. `remaining`: call again while it is not 0."""

    matched: int
    deleted: int
    remaining: int


@dataclass(frozen=True, slots=True)
class Refused:
    """One row that was not stored, and why. `index` counts from 0 in what was given."""

    index: int
    id: str | None
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a bulk store. `total` is None while it is not known."""

    done: int
    total: int | None
    seconds: float

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total:,}"
        rate = self.done / self.seconds if self.seconds > 0 else 0.0
        return f"{self.done:,}{of} stored, {rate:,.0f} a second"


ProgressHandler: TypeAlias = Callable[[Progress], None]


@dataclass(slots=True)
class BulkReport:
    """The result of many rows: how many are new, how many existed, and each refused one."""

    created: int = 0
    unchanged: int = 0
    refused: list[Refused] = field(default_factory=list)
    total: int | None = None
    on_progress: ProgressHandler | None = field(default=None, repr=False)
    _started: float = field(default_factory=time.monotonic, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def done(self) -> int:
        """Rows that have their answer."""
        return self.created + self.unchanged + len(self.refused)

    def add(self, *, created: int, unchanged: int, refused: Iterable[Refused]) -> None:
        """Count one batch. Safe for several threads."""
        with self._lock:
            self.created += created
            self.unchanged += unchanged
            self.refused.extend(refused)
            self.refused.sort(key=lambda row: row.index)
            if self.on_progress is not None:
                self.on_progress(Progress(self.done, self.total, time.monotonic() - self._started))
