"""Stores the valid items of a batch and names each invalid one; derives ids and digests of
memories."""

import asyncio
import hashlib
import math
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import orjson
from pydantic import BaseModel

from app.contract.requests import OutcomeAtHorizon
from app.errors import MemoryServiceError
from app.model import Stored, horizon_name
from app.vectors import without_negative_zeros

ItemT = TypeVar("ItemT")
Outcome = Stored | MemoryServiceError

SLICE = 128
"""Items prepared in one go, about 2 ms. Then other requests get their turn, and Redis stores one
slice while the next is prepared."""
TURNS = 4
"""Event loop turns between slices, which a slice needs to be on its way to Redis."""


@dataclass(slots=True)
class BatchOutcome:
    """The result of each item, in order. `token` is None if nothing reached Redis."""

    outcomes: list[Outcome] = field(default_factory=list)
    token: str | None = None


async def store_batch(
    items: Sequence[object],
    prepare: Callable[[int, object], ItemT],
    store_many: Callable[[Sequence[ItemT]], Awaitable[tuple[list[Outcome], str]]],
) -> BatchOutcome:
    """Prepare every item, store the good ones in order.

    `prepare` takes the item's index and the item, and raises MemoryServiceError for a bad one.
    Raises what `store_many` raises while nothing is known to be stored; later, that error stands
    for each item that was not stored.
    """
    storing = _Storing(store_many)
    try:
        for start in range(0, len(items), SLICE):
            prepared = _prepared(items[start : start + SLICE], start, prepare)
            await storing.add(prepared)
        return await storing.finish()
    finally:
        storing.cancel()


def _prepared(
    items: Sequence[object], first: int, prepare: Callable[[int, object], ItemT]
) -> list[ItemT | MemoryServiceError]:
    prepared: list[ItemT | MemoryServiceError] = []
    for index, item in enumerate(items, first):
        try:
            prepared.append(prepare(index, item))
        except MemoryServiceError as error:
            prepared.append(error)
    return prepared


class _Storing(Generic[ItemT]):
    """Sends one slice after the other to Redis, never two at once, because their order matters."""

    def __init__(
        self, store_many: Callable[[Sequence[ItemT]], Awaitable[tuple[list[Outcome], str]]]
    ) -> None:
        self._store_many = store_many
        self._outcome = BatchOutcome()
        self._failed: MemoryServiceError | None = None
        self._slice: asyncio.Task[None] | None = None

    async def add(self, prepared: Sequence[ItemT | MemoryServiceError]) -> None:
        """Store these once the previous slice is stored."""
        if self._slice is not None:
            await self._slice
        self._slice = asyncio.create_task(self._store(prepared))
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def finish(self) -> BatchOutcome:
        """Return the result of everything that was added."""
        if self._slice is not None:
            await self._slice
        return self._outcome

    def cancel(self) -> None:
        """Stop, if a slice is still in progress."""
        if self._slice is not None:
            self._slice.cancel()

    async def _store(self, prepared: Sequence[ItemT | MemoryServiceError]) -> None:
        good = [item for item in prepared if not isinstance(item, MemoryServiceError)]
        stored: list[Outcome] = []
        if good and self._failed is None:
            try:
                stored, self._outcome.token = await self._store_many(good)
            except MemoryServiceError as error:
                if self._outcome.token is None:
                    raise
                self._failed = error
        remaining = iter(stored if self._failed is None else [self._failed] * len(good))
        self._outcome.outcomes += [
            item if isinstance(item, MemoryServiceError) else next(remaining) for item in prepared
        ]


DIGEST_BYTES = 16
MAX_EXACT = 2**53
"""Beyond this, not every whole number is a float."""


def new_id() -> str:
    """Return an id that nobody else has."""
    return uuid.uuid4().hex


def id_from_idempotency_key(key: str, owner: str) -> str:
    """Return the id for this owner's `Idempotency-Key`: always the same one."""
    return hashlib.blake2b(f"{owner}\0{key}".encode(), digest_size=DIGEST_BYTES).hexdigest()


def digest_of(request: BaseModel, vector_fields: tuple[str, ...]) -> bytes:
    """Return a hash of what the caller sent, however it was written.

    `vector_fields` are in alphabetical order. A field with its default value counts as omitted, and
    omitted fields do not count, because what the service fills in (the time of storing) differs
    from one try to the next. Numbers count by value: 1 equals 1.0, and 0 equals -0.
    """
    fields, values = type(request).model_fields, vars(request)
    sent = {}
    for name in request.model_fields_set:
        value = values[name]
        if name == "id" or name in vector_fields:
            continue
        if value != fields[name].get_default(call_default_factory=True):
            # A number of the request is a float already, one in its metadata may be an int.
            sent[name] = value + 0.0 if isinstance(value, float) else canonical(value)
    digest = hashlib.blake2b(orjson.dumps(sent, option=orjson.OPT_SORT_KEYS), digest_size=16)
    for name in vector_fields:
        vector = values[name]
        if vector is not None:
            digest.update(name.encode() + without_negative_zeros(vector))
    return digest.digest()


def canonical(value: object) -> object:
    """Return JSON with each whole number as an int, up to MAX_EXACT, and outcomes in one order."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= MAX_EXACT else value
    if isinstance(value, int) and abs(value) > MAX_EXACT:
        return float(value) if int(float(value)) == value else value
    if isinstance(value, OutcomeAtHorizon):
        return canonical(value.model_dump(exclude_none=True) | {"horizon": _horizon(value.horizon)})
    if isinstance(value, Mapping):
        return {name: canonical(inner) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        if value and isinstance(value[0], OutcomeAtHorizon):
            value = sorted(value, key=lambda o: (o.outcome_at, horizon_name(o.horizon)))
        return [canonical(inner) for inner in value]
    return value


def _horizon(named: str | float) -> str | float:
    """Return the number that a horizon's name stands for, or the name."""
    try:
        number = float(named)
    except ValueError:
        return named
    return number if math.isfinite(number) and horizon_name(number) == named else named
