"""What a comparison measured, as it is kept: docs/benchmarks/compare.json."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import orjson
from pydantic import TypeAdapter

REFERENCE = "redis"
"""The floor that every row is held against: the same data in the same layout, no service."""

OURS = "memory"


@dataclass(frozen=True, slots=True)
class Case:
    """How the vectors are spread, and how long they are."""

    tenants: int
    numbers: int

    def __str__(self) -> str:
        return f"{self.tenants}x{self.numbers}"


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement of one database. `others`: processors that other programs kept busy."""

    round: int
    callers: int
    searches: int
    p50_ms: float
    p99_ms: float
    per_second: float
    others: float


@dataclass(frozen=True, slots=True)
class Database:
    """One database in one case. `generator` made the load; `recall` is its worst measurement's."""

    key: str
    name: str
    way: str
    version: str = ""
    index: str = ""
    generator: str = ""
    recall: float = 0.0
    load_s: float = 0.0
    memory_bytes: int = 0
    measured: tuple[Measured, ...] = ()
    not_run: str | None = None

    def median(self, callers: int, figure: Callable[[Measured], float]) -> float:
        """Return the median of the rounds. Raises ValueError if there are none."""
        return median(figure(each) for each in self.measured if each.callers == callers)

    def others(self, callers: int) -> float:
        """Return how many processors other programs kept busy in the worst round."""
        return max(each.others for each in self.measured if each.callers == callers)


@dataclass(frozen=True, slots=True)
class CaseResult:
    """Every database that was asked for, in one case."""

    case: Case
    vectors: int
    questions: int
    databases: tuple[Database, ...]

    def find(self, key: str) -> Database | None:
        """Return the database of this key, if it was measured."""
        return next((d for d in self.databases if d.key == key and d.measured), None)


@dataclass(frozen=True, slots=True)
class Summary:
    """A whole run. Load averages are the last minute's, when it began and when it ended."""

    date: str
    command: str
    machine: str
    commit: str
    data: str
    rounds: int
    seconds: int
    callers: tuple[int, ...]
    load_at_start: float
    load_at_end: float
    cases: tuple[CaseResult, ...]


def ratio(
    one: Database, other: Database, callers: int, figure: Callable[[Measured], float]
) -> float:
    """Return the median of the rounds' ratios of `one` to `other`: drift affects both."""
    theirs = {each.round: figure(each) for each in other.measured if each.callers == callers}
    return median(
        figure(each) / theirs[each.round]
        for each in one.measured
        if each.callers == callers and each.round in theirs
    )


def p50_ms(measured: Measured) -> float:
    """Return the figure for `median` and `ratio`."""
    return measured.p50_ms


def p99_ms(measured: Measured) -> float:
    """Return the figure for `median` and `ratio`."""
    return measured.p99_ms


def per_second(measured: Measured) -> float:
    """Return the figure for `median` and `ratio`."""
    return measured.per_second


def read_summary(path: Path) -> Summary:
    """Return what `write_summary` wrote. Raises OSError, pydantic.ValidationError."""
    return TypeAdapter(Summary).validate_json(path.read_bytes())


def write_summary(summary: Summary, path: Path) -> None:
    """Write it as JSON, with four digits after the point."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(as_rounded_json(summary))


def as_rounded_json(what: object) -> bytes:
    """Return a dataclass as JSON to commit: four digits after the point, a line for each figure."""
    rounded = _rounded(orjson.loads(orjson.dumps(what)))
    return orjson.dumps(rounded, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _rounded(value: object) -> object:
    match value:
        case float():
            return round(value, 4)
        case list():
            return [_rounded(each) for each in value]
        case dict():
            return {name: _rounded(each) for name, each in value.items()}
    return value


def cases_of(texts: Sequence[str]) -> list[Case]:
    """Parse cases: `250x768` is 250 tenants and 768 numbers. Raises ValueError."""
    return [Case(*(int(part) for part in text.split("x"))) for text in texts]
