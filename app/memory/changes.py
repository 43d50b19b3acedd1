"""Changes of a stored memory: its outcome, its quality and its priority.

An open memory is closed once. Its owner may rate a memory later: the quality once, the priority any
number of times. A change reads the memory, changes it and writes it back, and starts again if
another caller changed it meanwhile.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import orjson

from app.auth import caller
from app.auth.limits import AgentAdmission
from app.contract.requests import (
    MAX_HORIZONS,
    EpisodicPatch,
    EpisodicPriorities,
    Outcome,
    OutcomeAtHorizon,
)
from app.decisions.ledger import DecisionLedger
from app.decisions.recall_ids import PREFIX
from app.errors import (
    InvalidInput,
    MemoryNotFound,
    OutcomeConflict,
    Overloaded,
    QualityConflict,
)
from app.model import horizon_name
from app.storage.episodic import EpisodicRecord, ExperienceStore
from app.storage.memories import StoredHash


def stored_outcomes(
    given: Sequence[OutcomeAtHorizon] | None, timestamp: float, **recorded: float
) -> tuple[dict[str, object], ...]:
    """Return outcomes as they are stored. Raise InvalidInput."""
    for outcome in given or ():
        if outcome.outcome_at < timestamp:
            raise InvalidInput(
                "outcomes: outcome_at must not be before the memory's timestamp, which is now "
                "unless it is given.",
                field="outcomes",
            )
    return tuple(outcome.model_dump(exclude_none=True) | recorded for outcome in given or ())


def _said_at(at: float | None, now: float) -> float:
    """Return the moment that a caller gives to a change. Raise InvalidInput."""
    if at is not None and at > now:
        raise InvalidInput("at: must not be after now.", field="at")
    return now if at is None else at


MAX_TRIES = 100
"""Each failed try means that another caller's change succeeded."""

WrittenT = TypeVar("WrittenT")

Change = Callable[[EpisodicRecord], EpisodicRecord]
"""Returns what a record becomes, or the same record if nothing changes."""

Write = Callable[[str, str, StoredHash, EpisodicRecord], Awaitable[str | None]]
"""Takes agent, id, the hash read and the new record. Returns the token, or None if it has
changed."""


async def until_written(attempt: Callable[[], Awaitable[WrittenT | None]], what: str) -> WrittenT:
    """Repeat an attempt until it returns something. It returns None if another caller was first.

    Raise Overloaded when others are always first. `what` names what is changed.
    """
    for _ in range(MAX_TRIES):
        written = await attempt()
        if written is not None:
            return written
    raise Overloaded(f"Other callers keep changing {what}: try again.", retry_after_s=1)


@dataclass(frozen=True, slots=True)
class ChangedMemory:
    """A memory as it is now. `token` is None if nothing had to be written."""

    id: str
    record: bytes
    token: str | None


async def changed_memory(
    store: ExperienceStore, agent_id: str, memory_id: str, *, change: Change, write: Write
) -> ChangedMemory:
    """Change one memory, unless it is already as wanted. Raise MemoryNotFound or Overloaded."""

    async def attempt() -> ChangedMemory | None:
        read = await store.fetch(agent_id, memory_id)
        if read is None:
            raise MemoryNotFound(f"Agent {agent_id} has no memory {memory_id}: check both names.")
        record: EpisodicRecord = orjson.loads(read.record)
        changed = change(record)
        if changed == record:
            await store.confirm(agent_id)
            return ChangedMemory(memory_id, read.record, None)
        token = await write(agent_id, memory_id, read, changed)
        return None if token is None else ChangedMemory(memory_id, orjson.dumps(changed), token)

    return await until_written(attempt, "this memory")


@dataclass(frozen=True, slots=True)
class Priorities:
    """The result of new priorities. `token` is None if nothing had to be written."""

    changed: int
    missing: list[str]
    token: str | None


@dataclass(frozen=True, slots=True)
class _Try:
    """One try. `left`: the priorities of memories that changed meanwhile."""

    changed: int
    missing: list[str]
    token: str | None
    left: dict[str, float]


NOT_SAID = {"recorded_at": None, "horizon": None}
"""What may differ in two reports of one outcome: the horizon's spelling and the service's time."""


def _with_outcomes(record: EpisodicRecord, given: Sequence[Mapping[str, object]]) -> EpisodicRecord:
    """Return the record with outcomes at other horizons. Raise OutcomeConflict."""
    if not given:
        return record
    known = {horizon_name(o["horizon"]): o for o in record.get("outcomes", ())}
    new = []
    for outcome in given:
        there = known.get(horizon_name(cast("str | float", outcome["horizon"])))
        if there is None:
            new.append(outcome)
        elif {**there, **NOT_SAID} != {**outcome, **NOT_SAID}:
            raise OutcomeConflict(
                f"Memory {record['id']} has another outcome at this horizon: it is given once."
            )
    if not new:
        return record
    outcomes = [*record.get("outcomes", ()), *new]
    if len(outcomes) > MAX_HORIZONS:
        raise InvalidInput(
            f"outcomes: a memory may have {MAX_HORIZONS} horizons in all.", field="outcomes"
        )
    return record | {"outcomes": outcomes}


def _require_same(record: EpisodicRecord, outcome: Outcome) -> None:
    given = outcome.model_dump(exclude_none=True, exclude={"outcomes", "at"})
    if any(record[name] != value for name, value in given.items()):
        raise OutcomeConflict(
            # The message does not say which, because that may lie in the caller's future.
            f"Memory {record['id']} is closed with another outcome: an outcome is given once."
        )


class ChangeOperations:
    """Closes open memories, with the decisions that they are; rates memories. `now` returns unix
    seconds."""

    def __init__(
        self,
        store: ExperienceStore,
        ledger: DecisionLedger,
        now: Callable[[], float],
        admit: AgentAdmission,
    ) -> None:
        self._admit = admit
        self._ledger = ledger
        self._store = store
        self._now = now

    async def close(self, agent_id: str, memory_id: str, outcome: Outcome) -> ChangedMemory:
        """Record the outcome, unless the same outcome is recorded already.

        Raise MemoryNotFound, OutcomeConflict if a different outcome is known, or InvalidInput if it
        would have been known before the state.
        """
        await self._admit(agent_id)
        was_open = False

        def change(record: EpisodicRecord) -> EpisodicRecord:
            nonlocal was_open
            was_open = record["reward"] is None
            return self._closed(record, outcome)

        closed = await changed_memory(
            self._store, agent_id, memory_id, change=change, write=self._store.close
        )
        if memory_id.startswith(PREFIX):
            await self._ledger.settle(
                agent_id,
                memory_id,
                orjson.loads(closed.record),
                is_new=was_open and closed.token is not None,
            )
        return closed

    def _closed(self, record: EpisodicRecord, outcome: Outcome) -> EpisodicRecord:
        now, timestamp = self._now(), record["timestamp"]
        said_at = _said_at(outcome.at, now)
        closed = _with_outcomes(
            record, stored_outcomes(outcome.outcomes, timestamp, recorded_at=now)
        )
        if outcome.reward is None:
            return closed
        if record["reward"] is not None:
            _require_same(record, outcome)
            return closed
        if outcome.outcome_at is not None and outcome.outcome_at < timestamp:
            raise InvalidInput("outcome_at: must not be before timestamp.", field="outcome_at")
        known_at = outcome.outcome_at
        return closed | {
            "reward": outcome.reward,
            "outcome_at": max(said_at, timestamp) if known_at is None else known_at,
            "terminal": record["terminal"] if outcome.terminal is None else outcome.terminal,
            "outcome_recorded_at": now,
        }

    async def rate(self, agent_id: str, memory_id: str, request: EpisodicPatch) -> ChangedMemory:
        """Give a memory these ratings, unless it already has them.

        A quality is given once, so that what was shared at any moment can always be reconstructed.
        Raise MemoryNotFound, or QualityConflict if a different one is given.
        """
        await self._admit(agent_id)
        return await changed_memory(
            self._store,
            agent_id,
            memory_id,
            change=lambda record: self._rated(record, request),
            write=self._store.rate,
        )

    def _rated(self, record: EpisodicRecord, request: EpisodicPatch) -> EpisodicRecord:
        now = self._now()
        rated, said_at = dict(record), _said_at(request.at, now)
        told = {} if request.at is None else {"recorded_at": now}
        quality, priority = request.quality, request.priority
        if quality is not None:
            if record.get("quality", quality) != quality:
                raise QualityConflict(
                    f"Memory {record['id']} has another quality: a quality is given once."
                )
            if "quality" not in record:
                rated |= {"quality": quality, "quality_at": said_at}
                rated |= {f"quality_{name}": moment for name, moment in told.items()}
        if priority is not None and record.get("priority") != priority:
            rated.pop("priority_recorded_at", None)
            rated |= {"priority": priority, "priority_at": said_at}
            rated |= {f"priority_{name}": moment for name, moment in told.items()}
        return rated

    async def prioritize(self, request: EpisodicPriorities) -> Priorities:
        """Give many memories of an agent new priorities, in two round trips.

        A memory that another caller changes meanwhile is tried again. Raise StorageError, and
        Overloaded when others keep changing it; what was written before stays.
        """
        caller.require_batch("priorities", len(request.priorities))
        await self._admit(request.agent_id)
        left = {item.id: item.priority for item in request.priorities}
        changed, missing, token = 0, list[str](), None

        async def attempt() -> Priorities | None:
            nonlocal changed, missing, token, left
            tried = await self._try(request.agent_id, left)
            changed += tried.changed
            missing += tried.missing
            token = tried.token or token
            left = tried.left
            return None if left else Priorities(changed, missing, token)

        done = await until_written(attempt, "these memories")
        if done.token is None:
            await self._store.confirm(request.agent_id)
        return done

    async def _try(self, agent_id: str, wanted: Mapping[str, float]) -> _Try:
        found = await self._store.fetch_records(agent_id, list(wanted))
        missing = [name for name, record in found.items() if record is None]
        now = self._now()
        changes: dict[str, tuple[bytes, EpisodicRecord]] = {}
        for name, read in found.items():
            if read is None:
                continue
            record: EpisodicRecord = orjson.loads(read)
            if record.get("priority") != wanted[name]:
                record.pop("priority_recorded_at", None)  # of a rating that carried an earlier time
                changes[name] = (read, record | {"priority": wanted[name], "priority_at": now})
        if not changes:
            return _Try(0, missing, None, {})
        written, token = await self._store.rate_many(agent_id, changes)
        left = {name: wanted[name] for name in changes if name not in written}
        return _Try(len(written), missing, token, left)
