"""Draws experiences to train on at random, without replacement, page after page.

Each memory gets a number u from the seed and its own place alone, and the key -ln(u)/w, where w is
its weight. The smallest keys are drawn first. That equals drawing one after the other with
probabilities proportional to the remaining weights (Efraimidis and Spirakis, 2006). A key depends
on nothing but its memory, so a page continues where the previous one ended, whatever is stored or
deleted in between.

A stratified page takes one memory of each stratum in turn. The order of the strata on each page is
drawn from the seed and the page's number, so a page too short for all strata favours none of them.

Weights, keys and probabilities are logarithms, because powers of priorities exceed a float's range.

A trainer draws page after page of one population, and each page would read all of it again. So
populations are cached like answers (app/read_path/cache.py): for their memory's version, not while
other processes' writes may be missed, and for at most `ttl_s`.
"""

import base64
import binascii
import hashlib
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, overload

import numpy as np
import orjson
from numpy.typing import NDArray

from app.auth import caller
from app.auth.limits import AgentAdmission
from app.contract.requests import EpisodicSample
from app.errors import InvalidInput
from app.memory.paging import NOT_OURS, fingerprint
from app.memory.questions import as_known, episodic_filter
from app.memory.replay import ORDERS, PRIORITY_FLOOR, Chances, ReplayTable, Taken, unit
from app.metrics import SWARM, measuring
from app.model import EpisodicFilter
from app.nodes.changes import Freshness
from app.read_path.versions import PartitionVersions
from app.storage.samples import Candidate, Content, Populations

MAX_CANDIDATES = 200_000
"""Limit for all cached populations: 44 MB. A larger one is read for each page."""

MAX_POPULATIONS = 256

_Key = tuple[str | None, EpisodicFilter, str | None]


@dataclass(frozen=True, slots=True)
class _Kept:
    found: Sequence[Candidate]
    version: int
    expires_at_s: float


class CachedPopulations:
    """Caches populations; evicts the least recently used one."""

    def __init__(
        self,
        populations: Populations,
        versions: PartitionVersions,
        *,
        freshness: Freshness,
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._populations = populations
        self._versions = versions
        self._freshness = freshness
        self._ttl_s = ttl_s
        self._clock = clock
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()

    async def read(
        self, agent_id: str | None, wanted: EpisodicFilter, *, stratify_by: str | None
    ) -> Sequence[Candidate]:
        """Read as Populations.read does, from the cache if that is known to be still true."""
        key = (agent_id, wanted, stratify_by)
        version = self._versions.version_of(agent_id)
        kept = self._kept.pop(key, None)
        if kept is not None and self._is_true(kept, version, agent_id):
            self._kept[key] = kept
            return kept.found
        was_latest = self._freshness.reads_latest(agent_id)
        found = await self._populations.read(agent_id, wanted, stratify_by=stratify_by)
        if was_latest and self._freshness.reads_latest(agent_id):
            # If it was written to meanwhile, its version is old and it is never used.
            self._keep(key, _Kept(found, version, self._clock() + self._ttl_s))
        return found

    async def fetch(
        self, drawn: Sequence[Candidate], *, with_vectors: bool
    ) -> list[Content | None]:
        """Fetch as Populations.fetch does. Contents are not cached."""
        return await self._populations.fetch(drawn, with_vectors=with_vectors)

    async def whole_since(self, agent_id: str | None, as_of: float | None) -> float | None:
        """Return the same as Populations.whole_since. It is not cached."""
        return await self._populations.whole_since(agent_id, as_of)

    def _is_true(self, kept: _Kept, version: int, agent_id: str | None) -> bool:
        is_current = kept.version == version and self._clock() < kept.expires_at_s
        return is_current and self._freshness.hears_writes(agent_id)

    def _keep(self, key: _Key, kept: _Kept) -> None:
        self._kept[key] = kept
        candidates = sum(len(one.found) for one in self._kept.values())
        while candidates > MAX_CANDIDATES or len(self._kept) > MAX_POPULATIONS:
            _, oldest = self._kept.popitem(last=False)
            candidates -= len(oldest.found)


MAX_STRATA = 128
"""How many values of regime or product a cursor can carry."""

MAX_SEED = 2**53
KEY_MARGIN = 1e-13
_CURSOR_FIELDS = {"cursor", "size", "seed", "include_vectors"}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A memory's record, vectors, probability of being drawn first, and importance weight."""

    record: bytes
    vectors: dict[str, bytes]
    probability: float
    weight: float


class DrawnRows(Sequence[Drawn]):
    """Experiences drawn from a table: as columns, or one by one as they are asked for."""

    def __init__(self, taken: Taken, chances: Chances) -> None:
        self.taken = taken
        self.chances = chances

    def __len__(self) -> int:
        return len(self.chances.rows)

    @overload
    def __getitem__(self, place: int) -> Drawn: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Drawn]: ...
    def __getitem__(self, place: int | slice) -> Drawn | Sequence[Drawn]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if self.taken.records is None:
            raise TypeError("only the columns were asked for")
        return Drawn(
            record=self.taken.records[place],
            vectors=self.taken.vectors(place),
            probability=float(self.chances.probabilities[place]),
            weight=float(self.chances.weights[place]),
        )


class ReplayTables(Protocol):
    """Keeps tables of agents' experiences (app/feed/replay.py)."""

    async def current(self, agent_id: str) -> ReplayTable | None:
        """Return a table with everything that is confirmed, or None if it is not kept."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was drawn, in order. `next_cursor` is None if nothing is left.

    `whole_since` (unix seconds): some of what could have been drawn before then was purged.
    """

    drawn: Sequence[Drawn]
    population: int
    seed: int
    next_cursor: str | None
    whole_since: float | None = None


class SampleOperations:
    """Draws samples."""

    def __init__(
        self,
        populations: Populations | CachedPopulations,
        admit: AgentAdmission,
        tables: ReplayTables | None = None,
    ) -> None:
        self._populations = populations
        self._admit = admit
        self._tables = tables

    async def sample(self, request: EpisodicSample, *, with_records: bool = True) -> Sample:
        """Draw a sample. Raise InvalidInput, AgentForbidden or StorageError.

        Without `with_records`, what comes from a table has columns only.
        """
        if request.agent_id is None:
            caller.require_all_agents()
        else:
            await self._admit(request.agent_id)
        caller.require_batch("size", request.size)
        start = _begin(request)
        with measuring("sample", request.agent_id or SWARM):
            wanted = replace(episodic_filter(request), closed=True)
            kept = await self._from_table(request, wanted, start, with_records)
            if kept is not None:
                return kept
            found = await self._populations.read(
                request.agent_id, wanted, stratify_by=request.stratify_by
            )
            strata = sorted({candidate.stratum for candidate in found})
            if len(strata) > MAX_STRATA:
                raise InvalidInput(
                    f"stratify_by: allows at most {MAX_STRATA} values, found {len(strata)}.",
                    field="stratify_by",
                )
            draw = _Draw(found, strata, request, start)
            contents = await self._populations.fetch(
                [found[i] for i in draw.places], with_vectors=request.include_vectors
            )
            whole_since = await self._populations.whole_since(request.agent_id, request.as_of)
        drawn = [
            Drawn(
                record=(as_known(content.record, request.as_of, request.recorded_by)),
                vectors=content.vectors,
                probability=float(draw.probabilities[i]),
                weight=float(draw.weights[i]),
            )
            for i, content in zip(draw.places, contents, strict=True)
            if content is not None
        ]
        next_cursor = draw.next_cursor(_fingerprint(request))
        return Sample(drawn, len(found), start.seed, next_cursor, whole_since)

    async def _from_table(
        self, request: EpisodicSample, wanted: EpisodicFilter, start: "_Start", with_records: bool
    ) -> Sample | None:
        """Draw from the table of an agent's experiences. Return None if it is not kept."""
        is_plain = wanted == EVERY_CLOSED and request.stratify_by is None and start.page == 0
        if self._tables is None or request.agent_id is None or not is_plain:
            return None
        table = await self._tables.current(request.agent_id)
        if table is None:
            return None
        base = np.uint64(_base(start.seed, request.agent_id))
        drawn = table.draw(
            lambda seqs: _bits(base, seqs),
            strategy=request.strategy,
            size=request.size,
            alpha=request.alpha,
            beta=request.beta,
        )
        ended = {_name(b""): drawn.last_key}
        is_last = len(table) <= request.size and request.strategy != "fifo"
        taken = table.take(
            drawn.rows, with_vectors=request.include_vectors, with_records=with_records
        )
        return Sample(
            DrawnRows(taken, drawn),
            len(table),
            start.seed,
            None if is_last else _cursor(start, _fingerprint(request), ended),
        )


EVERY_CLOSED = EpisodicFilter(closed=True)


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a page begins. `ended` has the key (a logarithm) of each stratum's last memory on
    earlier pages."""

    seed: int
    page: int
    ended: Mapping[str, float]


class _Draw:
    """The places of the drawn memories among the candidates, and all probabilities."""

    def __init__(
        self,
        found: Sequence[Candidate],
        strata: Sequence[bytes],
        request: EpisodicSample,
        start: _Start,
    ) -> None:
        codes = {stratum: code for code, stratum in enumerate(strata)}
        self._start = start
        self._names = [_name(stratum) for stratum in strata]
        self._codes = np.array([codes[candidate.stratum] for candidate in found], np.int64)
        log_weights = np.zeros(len(found))
        if request.strategy == "prioritized":
            priorities = np.array([candidate.priority for candidate in found], np.float64)
            log_weights = request.alpha * np.log(priorities + PRIORITY_FLOOR)
        log_chances = _log_shares(log_weights, self._codes, len(strata))
        log_chances -= math.log(max(1, len(strata)))
        self.probabilities: NDArray[np.float64] = np.exp(log_chances)
        importance = -request.beta * log_chances
        self.weights: NDArray[np.float64] = np.exp(importance - importance.max(initial=-np.inf))
        self._keys = _keys(found, request, start.seed) - log_weights
        last = np.array([start.ended.get(name, -np.inf) for name in self._names])
        left = np.flatnonzero(self._keys > last[self._codes])
        order = left[np.lexsort((self._keys[left], self._codes[left]))]
        # One of each stratum in turn, while it has any left.
        begins = np.searchsorted(self._codes[order], np.arange(len(strata)))
        ranks = np.arange(len(order)) - begins[self._codes[order]]
        turn_of = np.argsort(np.argsort([_turn(start, name) for name in self._names]))
        in_turn = order[np.lexsort((turn_of[self._codes[order]], ranks))]
        self.places: list[int] = in_turn[: request.size].tolist()
        self._is_last = len(in_turn) <= request.size and request.strategy != "fifo"
        self._ended = dict(start.ended)
        for i in self.places:
            self._ended[self._names[self._codes[i]]] = float(self._keys[i])

    def next_cursor(self, made_for: str) -> str | None:
        """Return where the next page continues. None if nothing is left.

        First in, first out never ends: what is stored later follows.
        """
        return None if self._is_last else _cursor(self._start, made_for, self._ended)


def _cursor(start: "_Start", made_for: str, ended: Mapping[str, float]) -> str:
    # A logarithm's last bit depends on how many were taken at once: the last one drawn must not be
    # the first of the next page.
    behind = {name: key + KEY_MARGIN * (1.0 + abs(key)) for name, key in ended.items()}
    content = orjson.dumps([start.seed, made_for, start.page + 1, behind])
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _begin(request: EpisodicSample) -> _Start:
    if request.cursor is None:
        return _Start(secrets.randbelow(MAX_SEED) if request.seed is None else request.seed, 0, {})
    text = request.cursor
    try:
        decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        seed, made_for, page, ended = orjson.loads(decoded)
        start = _Start(int(seed), int(page), {str(name): float(k) for name, k in ended.items()})
        is_ours = made_for == _fingerprint(request) and request.seed in {None, seed}
    except (binascii.Error, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise InvalidInput(NOT_OURS, field="cursor") from error
    if not is_ours or not 0 <= start.seed < MAX_SEED or not 0 <= start.page < MAX_SEED:
        raise InvalidInput(NOT_OURS, field="cursor")
    return start


def _log_shares(
    log_weights: NDArray[np.float64], codes: NDArray[np.int64], strata: int
) -> NDArray[np.float64]:
    """Return the logarithm of each share of its stratum's weights, given as logarithms."""
    largest = np.full(strata, -np.inf)
    np.maximum.at(largest, codes, log_weights)
    relative = log_weights - largest[codes]
    sums = np.bincount(codes, np.exp(relative), minlength=strata)
    shares: NDArray[np.float64] = relative - np.log(sums)[codes]
    return shares


def _turn(start: _Start, name: str) -> int:
    """Return a stratum's place in the order of this page; the smallest is first."""
    content = f"{start.seed}\0{start.page}\0{name}".encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=7).digest(), "little")


def _fingerprint(request: EpisodicSample) -> str:
    return fingerprint(request, _CURSOR_FIELDS)


def _name(stratum: bytes) -> str:
    return hashlib.blake2b(stratum, digest_size=6).hexdigest()


def _keys(found: Sequence[Candidate], request: EpisodicSample, seed: int) -> NDArray[np.float64]:
    """Return the keys without their weights; the smallest are drawn first."""
    seqs = np.array([candidate.seq for candidate in found], np.uint64)
    if request.strategy in ORDERS:
        return seqs.astype(np.float64) * ORDERS[request.strategy]
    agents = {candidate.agent_id for candidate in found}
    bases = {agent_id: _base(seed, agent_id) for agent_id in agents}
    base = np.array([bases[candidate.agent_id] for candidate in found], np.uint64)
    return np.asarray(np.log(-np.log(unit(_bits(base, seqs)))))


def _bits(base: NDArray[np.uint64] | np.uint64, seqs: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the random bits at each place in the agent's stream."""
    # splitmix64 (Steele, Lea, Flood 2014): the seq-th number of the stream that begins at base.
    mixed = seqs * np.uint64(0x9E3779B97F4A7C15)
    mixed += base
    shifted = np.empty_like(mixed)
    mixed ^= np.right_shift(mixed, np.uint64(30), out=shifted)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= np.right_shift(mixed, np.uint64(27), out=shifted)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= np.right_shift(mixed, np.uint64(31), out=shifted)
    return mixed


def _base(seed: int, agent_id: str) -> int:
    digest = hashlib.blake2b(f"{seed}\0{agent_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
