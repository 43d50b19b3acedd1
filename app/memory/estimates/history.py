"""One agent's experiences as columns: what estimates compare a question's memories with.

A few numbers for each memory, no vector and no text: about 150 bytes. Everything as of a moment is
read from these, so a question that moves through ten years asks Redis for nothing more.
"""

import itertools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.memory.estimates.evidence import Interval
from app.memory.estimates.novelty import tickets
from app.model import horizon_name

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

FIRST_CAPACITY: Final = 256
ABSENT: Final = -1
LARGEST_TICKET: Final = 2.0**64 - 2.0**11

FLOATS: Final = (
    "start",
    "end",
    "reward",
    "scale",
    "recorded",
    "outcome_recorded",
    "quality",
    "quality_at",
    "quality_recorded",
    "retired",
    "step",
)
CODES: Final = ("product", "regime", "action", "episode")
"""The names of the rows of `table` and `code_table`."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Rewards and when they became known, by row; NaN and infinity if there is no outcome."""

    reward: Floats
    end: Floats
    recorded: Floats


class Fact(NamedTuple):
    """What an estimate needs of one memory; faster to read at once than column by column.

    `interval` is the time that its outcome covers; without a given outcome_at, `end` is the moment
    of storing, which says nothing. `scale` is NaN if it has none.
    """

    id: str
    product: str
    action: str | None
    reward: float
    end: float
    scale: float
    interval: Interval


AnyT = TypeVar("AnyT", bound=np.generic)

_NUMBERS = itertools.count(1)


class History:
    """The experiences of one agent in the order of their `seq`.

    `start` and `end` are timestamp and outcome_at (unix seconds; infinite: open). Names are codes.
    `version` grows with every change; `memo` caches what others derive from a version. `number`
    distinguishes it from all other histories. `table` and `code_table` hold all columns, with room
    for more memories.
    """

    def __init__(self) -> None:
        self.number = next(_NUMBERS)
        self.count = 0
        self.version = 0
        self.memo: dict[Hashable, object] = {}
        self._seq = np.empty(FIRST_CAPACITY, np.int64)
        self.table = np.empty((len(FLOATS), FIRST_CAPACITY))
        self.code_table = np.empty((len(CODES), FIRST_CAPACITY), np.int32)
        self._floats = dict(zip(FLOATS, self.table, strict=True))
        self._codes = dict(zip(CODES, self.code_table, strict=True))
        self._terminal = np.empty(FIRST_CAPACITY, np.bool_)
        self._facts: list[Fact] = []
        self._facts_at: dict[str, tuple[int, list[Fact]]] = {}
        self._names: dict[str | None, int] = {}
        self._by_code: list[str | None] = []
        self._horizons: dict[str, dict[int, tuple[float, float, float]]] = {}
        self._tickets: tuple[int, NDArray[np.uint64]] = (-1, np.empty(0, np.uint64))
        self._views: dict[str | None, tuple[int, Outcomes]] = {}
        self._retirements: list[float] = []
        self._actions: tuple[int, list[str | None]] = (-1, [])

    @property
    def seq(self) -> Rows:
        """Return the number that each memory got when it was stored, ascending."""
        return self._seq[: self.count]

    @property
    def terminal(self) -> NDArray[np.bool_]:
        """Return whether the episode ended with each memory."""
        return self._terminal[: self.count]

    @property
    def last_seq(self) -> int:
        """Return the largest `seq`; 0 without memories."""
        return int(self._seq[self.count - 1]) if self.count else 0

    def column(self, name: str) -> Floats:
        """Return one of the columns of floats."""
        return self._floats[name][: self.count]

    def codes(self, name: str) -> NDArray[np.int32]:
        """Return one of the columns of names, as codes."""
        return self._codes[name][: self.count]

    def code(self, name: str | None) -> int:
        """Return the code of a name, or ABSENT if no memory has it."""
        return self._names.get(name, ABSENT)

    def name(self, code: int) -> str | None:
        """Return the name of a code."""
        return self._by_code[code]

    def actions(self) -> list[str | None]:
        """Return the names of all actions, None for memories without one."""
        version, found = self._actions
        if version != self.version:
            found = [self.name(code) for code in np.unique(self.codes("action")).tolist()]
            self._actions = self.version, found
        return found

    def id_of(self, row: int) -> str:
        """Return the id of a memory."""
        return self._facts[row].id

    def names_of(self, rows: Sequence[int]) -> list[tuple[str, int]]:
        """Return the id of each memory, and the number that it got when it was stored."""
        return [(self._facts[row].id, self._seq.item(row)) for row in rows]

    def facts(self, horizon: str | None) -> list[Fact]:
        """Return the facts of all rows at a horizon, or of the primary outcomes if None."""
        if horizon is None:
            return self._facts
        version, found = self._facts_at.get(horizon, (-1, []))
        if version != self.version:
            known = self._horizons.get(horizon, {})
            found = [_at(fact, known.get(row)) for row, fact in enumerate(self._facts)]
            self._facts_at[horizon] = self.version, found
        return found

    def retirements(self, as_of: float | None) -> int:
        """Return at how many moments up to this one (None: now) memories retired."""
        moments = self._retirements
        if not moments:
            return 0
        return len(moments) if as_of is None else bisect_right(moments, as_of)

    def last_retirement(self, count: int) -> float:
        """Return the last of the first `count` moments (unix seconds); minus infinity for none."""
        return self._retirements[count - 1] if count else -math.inf

    def rows_of(self, seqs: Sequence[int] | Rows) -> Rows:
        """Return the rows with these numbers; ABSENT for a missing one."""
        wanted = np.asarray(seqs, np.int64)
        own = self.seq
        if len(wanted) and len(own) and own.item(-1) - own.item(0) == len(own) - 1:
            away: Rows = wanted - own[0]
            if away.min() >= 0 and away.max() < len(own):
                return away
        rows = np.searchsorted(self.seq, wanted)
        rows[rows == self.count] = 0
        if not self.count:
            return np.full(len(wanted), ABSENT)
        found: Rows = np.where(self.seq[rows] == wanted, rows, ABSENT)
        return found

    def places_of(self, seqs: Sequence[int]) -> list[int]:
        """Return the same as `rows_of`, faster if nothing was ever deleted, so that numbers are
        consecutive."""
        count = self.count
        if not count:
            return [ABSENT] * len(seqs)
        first = int(self._seq[0])
        if int(self._seq[count - 1]) - first != count - 1:
            found: list[int] = self.rows_of(seqs).tolist()
            return found
        return [seq - first if 0 <= seq - first < count else ABSENT for seq in seqs]

    def outcomes(self, horizon: str | None) -> Outcomes:
        """Return the rewards at a horizon, or the primary ones for None."""
        if horizon is None:
            return Outcomes(
                self.column("reward"), self.column("end"), self.column("outcome_recorded")
            )
        version, view = self._views.get(horizon, (-1, None))
        if view is None or version != self.version:
            columns = np.full((3, self.count), math.inf)
            columns[0] = math.nan
            for row, values in self._horizons.get(horizon, {}).items():
                columns[:, row] = values
            view = Outcomes(*columns)
            self._views[horizon] = (self.version, view)
        return view

    def drawn(self, rows: Rows, count: int) -> Rows:
        """Return the rows with the smallest lottery tickets, at most `count`."""
        return rows if len(rows) <= count else smallest(rows, self.tickets()[rows], count)

    def tickets(self) -> NDArray[np.uint64]:
        """Return the lottery ticket of each row."""
        known, found = self._tickets
        if known != self.version:
            found = tickets(self.seq)
            self._tickets = self.version, found
        return found

    def put(self, rows: Iterable[tuple[int, Mapping[str, Any]]]) -> float:
        """Add memories that are new or have changed, by `seq` and decoded record.

        New ones come in the order of their `seq`. Return the earliest time (unix seconds) at which
        any of their outcomes was known; infinite if none is.
        """
        self.version += 1
        return min((self._put(seq, record) for seq, record in rows), default=math.inf)

    def _put(self, seq: int, record: Mapping[str, Any]) -> float:
        row, known_before = self.count, None
        if seq <= self.last_seq:
            row = int(self.rows_of([seq])[0])
            if row == ABSENT:
                return math.inf  # it was deleted
            known_before = self._known_at(row)
        else:
            self._grow()
            self.count += 1
            self._seq[row] = seq
            self._facts.append(_NO_FACT)
        end = record["outcome_at"]
        recorded = record.get("recorded_at", -math.inf)
        values = {
            "start": record["timestamp"],
            "end": math.inf if end is None else end,
            "reward": math.nan if record["reward"] is None else record["reward"],
            "scale": record.get("scale") or math.nan,
            "recorded": recorded,
            "outcome_recorded": record.get("outcome_recorded_at", recorded),
            "quality": record.get("quality", math.nan),
            "quality_at": record.get("quality_at", -math.inf),
            "quality_recorded": record.get("quality_recorded_at", -math.inf),
            "retired": record.get("retired_at") or math.inf,
            "step": record.get("step", math.nan),
        }
        for name, value in values.items():
            self._floats[name][row] = value
        if values["retired"] != math.inf:
            place = bisect_left(self._retirements, values["retired"])
            if self._retirements[place : place + 1] != [values["retired"]]:
                self._retirements.insert(place, values["retired"])
        for name, field in (("product", "product_id"), ("regime", "regime"), ("action", "action")):
            self._codes[name][row] = self._code_of(record[field])
        self._codes["episode"][row] = self._code_of(record.get("episode_id"))
        self._terminal[row] = record["terminal"]
        start, until = values["start"], values["end"]
        self._facts[row] = Fact(
            id=record["id"],
            product=record["product_id"],
            action=record["action"],
            reward=values["reward"],
            end=until,
            scale=values["scale"],
            interval=(start, start if until == recorded else until),
        )
        for outcome in record.get("outcomes", ()):
            known = (outcome["reward"], outcome["outcome_at"], outcome.get("recorded_at", recorded))
            self._horizons.setdefault(horizon_name(outcome["horizon"]), {})[row] = known
        known_at = self._known_at(row)
        return math.inf if known_at == known_before else min(known_at)

    def _known_at(self, row: int) -> list[float]:
        """Return when the outcomes of a memory became known."""
        named = (rows[row][1] for rows in self._horizons.values() if row in rows)
        return [float(self._floats["end"][row]), *named]

    def _code_of(self, name: str | None) -> int:
        code = self._names.get(name)
        if code is None:
            code = self._names[name] = len(self._by_code)
            self._by_code.append(name)
        return code

    def _grow(self) -> None:
        if self.count < len(self._seq):
            return
        size = 2 * len(self._seq)
        self._seq = np.resize(self._seq, size)
        self._terminal = np.resize(self._terminal, size)
        self.table, self.code_table = _wider(self.table), _wider(self.code_table)
        self._floats = dict(zip(FLOATS, self.table, strict=True))
        self._codes = dict(zip(CODES, self.code_table, strict=True))


def _wider(table: NDArray[AnyT]) -> NDArray[AnyT]:
    """Return the same columns, with room for as many more."""
    return np.concatenate([table, np.empty_like(table)], axis=1)


_NO_FACT = Fact("", "", None, math.nan, math.inf, math.nan, (0.0, 0.0))


def smallest(rows: Rows, own: NDArray[np.uint64], count: int) -> Rows:
    """Return the `count` of these rows, which are more, whose own tickets are the smallest."""
    # Tickets are spread evenly, so the wanted ones are nearly always among these few.
    few = np.flatnonzero(own < np.uint64(min(1.0, 2.0 * count / len(rows)) * LARGEST_TICKET))
    if len(few) < count:
        few = np.arange(len(rows))
    if len(few) > count:
        few = few[np.argpartition(own[few], count)[:count]]
    few.sort()
    return rows[few]


def _at(fact: Fact, outcome: tuple[float, float, float] | None) -> Fact:
    """Return a memory's fact with its outcome at another horizon. None without that outcome."""
    if outcome is None:
        return fact._replace(reward=math.nan, end=math.inf)
    return fact._replace(reward=outcome[0], end=outcome[1], interval=(fact.interval[0], outcome[1]))
