"""Values that travel between the routes, the read path and the storage.

Filters and questions are typed and know nothing of Redis syntax.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Tags = tuple[str, ...]
"""Accepted values, one of which must match. Empty accepts every value."""


@dataclass(frozen=True, slots=True)
class EpisodicFilter:
    """Conditions on episodic memories. All of them must hold.

    Rewards are in the agent's own unit, times are unix seconds, bounds are inclusive. A bound on
    the reward excludes open memories, which have no reward yet. `as_of` keeps only what was known
    then: states and outcomes up to that moment. `closed` excludes open memories. `recorded_by`
    excludes what the service was told later, whatever moment it is about. `horizon` names the
    outcome that must exist; whether it was known is read from the memory.
    """

    product_id: Tags = ()
    regime: Tags = ()
    action: Tags = ()
    min_reward: float | None = None
    max_reward: float | None = None
    since: float | None = None
    until: float | None = None
    terminal: bool | None = None
    as_of: float | None = None
    min_quality: float | None = None
    episode_id: Tags = ()
    min_step: int | None = None
    max_step: int | None = None
    closed: bool = False
    except_regime: Tags = ()
    recorded_by: float | None = None
    horizon: str | None = None


def horizon_name(horizon: str | float) -> str:
    """Return the name that distinguishes a horizon: 5 and 5.0 are the same."""
    if isinstance(horizon, str):
        return horizon
    brief = f"{horizon:g}"  # six digits: others have all of theirs
    return brief if float(brief) == horizon else f"{horizon:.17g}"


EVERY_EXPERIENCE = EpisodicFilter()
"""No condition. By far the most common filter: sharing one object makes it cheap to recognise."""


@dataclass(frozen=True, slots=True)
class SemanticFilter:
    """Conditions on semantic memories. All of them must hold; bounds are inclusive.

    `as_of` keeps only what had been created by that moment, as it was then.
    """

    memory_type: Tags = ()
    regime_name: Tags = ()
    min_sharpe_ratio: float | None = None
    min_win_rate: float | None = None
    min_access_count: int | None = None
    as_of: float | None = None


RegimePolicy = Literal["strict", "prefer", "any"]
"""How a search uses its regime. strict: only that one. prefer: that one first. any: as a label
only."""

RegimeStep = Literal["asked", "other"]
"""Where a hit came from: the requested regime, or another one that fills up the answer."""

Scope = Literal["own", "others", "all"]


@dataclass(slots=True)
class EpisodicMemory:
    """One experience of one agent. Vectors are little-endian float32 bytes, 4 * dimension long.

    Not frozen: a batch creates a thousand, and freezing costs as much as hashing a vector.

    `reward` and `outcome_at` are None while the memory is open. `recorded_at` is when the service
    stored it; `timestamp` is the moment it describes. `digest` hashes what the caller sent, which
    distinguishes a repeated store from a different memory with the same id.
    """

    id: str
    agent_id: str
    product_id: str
    regime: str
    state_vector: bytes
    action: str | None
    reward: float | None
    timestamp: float
    outcome_at: float | None
    terminal: bool
    next_state_vector: bytes | None
    metadata: dict[str, object]
    pinned: bool
    recorded_at: float
    digest: bytes
    quality: float | None = None
    priority: float | None = None
    episode_id: str | None = None
    step: int | None = None
    scale: float | None = None
    outcomes: tuple[dict[str, object], ...] = ()


@dataclass(frozen=True, slots=True)
class SemanticMemory:
    """One concept that the swarm shares. `concept_vector` is little-endian float32 bytes."""

    id: str
    memory_type: str
    regime_name: str
    concept_vector: bytes
    sharpe_ratio: float
    win_rate: float
    created_at: float
    metadata: dict[str, object]
    pinned: bool
    digest: bytes


@dataclass(slots=True)
class Trace:
    """Timings and facts about one question, for a caller who asks for them.

    `waiting_ms` is the wait for a batch, `redis_ms` the round trips, `decode_ms` the decoding of
    the replies. `searches` counts the indexes searched; `index` is the first of them. `group` holds
    the agent's memory; empty if there is only one group.
    """

    group: str = ""
    index: str = ""
    algorithm: str = ""
    vector_type: str = ""
    searches: int = 0
    batch_size: int = 1
    waiting_ms: float = 0.0
    redis_ms: float = 0.0
    decode_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Metric:
    """A learned distance: the sum of `weights` (d,) times the squared differences of two states.

    `known_at` (unix seconds): it was learned from what was known then.
    """

    id: str
    known_at: float
    weights: NDArray[np.float64] = field(compare=False, repr=False)


@dataclass(slots=True)
class EpisodicQuestion:
    """A search in episodic memory. The whole question identifies its answer.

    Never modified, and neither is an answer; frozen ones take four times as long to create. Other
    agents' memories older than `shared_since` (unix seconds) are not shared. A question with a
    `trace` always goes to Redis: its answer is neither cached nor shared.
    `places_only`: the answer has places instead of hits. `metric`: the distance to search by, by
    default the cosine distance. `only`: the ids of the agent's memories that may answer; empty for
    all.
    """

    agent_id: str
    vector: bytes = field(repr=False)
    top_k: int
    scope: Scope
    filter: EpisodicFilter
    max_distance: float | None
    exact: bool
    include_vectors: bool
    consistency: str
    regime_policy: RegimePolicy = "strict"
    shared_since: float | None = None
    trace: Trace | None = field(default=None, compare=False)
    places_only: bool = False
    metric: Metric | None = None
    only: tuple[str, ...] = ()

    def __hash__(self) -> int:
        # These two nearly always differ; equality still compares every field.
        return hash((self.agent_id, self.vector))

    def of_size(self, top_k: int, *, places_only: bool) -> "EpisodicQuestion":
        """Return the question for `top_k` memories; `replace` takes four times as long."""
        return EpisodicQuestion(
            self.agent_id,
            self.vector,
            top_k,
            self.scope,
            self.filter,
            self.max_distance,
            self.exact,
            self.include_vectors,
            self.consistency,
            self.regime_policy,
            self.shared_since,
            self.trace,
            places_only,
            self.metric,
            self.only,
        )

    def agents_asked(self, agents: Sequence[str]) -> Sequence[str]:
        """Return the agents whose memories may answer, out of all agents."""
        if self.scope == "own":
            return (self.agent_id,)
        return [a for a in agents if self.scope == "all" or a != self.agent_id]

    def regime_steps(self) -> list[tuple[RegimeStep | None, EpisodicFilter]]:
        """Return the regimes that may answer: those requested and, if allowed, the others."""
        wanted = self.filter
        if self.regime_policy == "strict" or not wanted.regime:
            return [(None, wanted)]
        others = replace(wanted, regime=(), except_regime=wanted.regime)
        return [("asked", wanted), ("other", others)]

    def shared(self, wanted: EpisodicFilter) -> EpisodicFilter:
        """Return the filter for other agents' memories, without those too old to be shared."""
        since = self.shared_since
        if since is None:
            return wanted
        return replace(wanted, since=since if wanted.since is None else max(wanted.since, since))


@dataclass(frozen=True, slots=True)
class SemanticQuestion:
    """A search in semantic memory."""

    vector: bytes = field(repr=False)
    top_k: int
    filter: SemanticFilter
    max_distance: float | None
    exact: bool
    include_vectors: bool
    consistency: str
    trace: Trace | None = field(default=None, compare=False)

    def __hash__(self) -> int:
        return hash(self.vector)


@dataclass(frozen=True, slots=True)
class Accesses:
    """How many searches found a concept, and when the last one did (unix seconds, or None).

    `seq` is the number that the concept got when it was stored. A later concept with the same id
    has a different number.
    """

    id: str
    seq: int
    count: int
    last_accessed: float | None


@dataclass(slots=True)
class Hit:
    """One memory that a search found. Never modified; frozen ones take four times as long to
    create.

    `record` is its JSON without vectors, `distance` its cosine distance. `vectors` holds the stored
    vectors by field name if they were requested. `accesses` is None for an experience.
    `regime_step` says whether the hit is of the requested regime, if others may answer too.
    """

    record: bytes = field(repr=False)
    distance: float
    vectors: dict[str, bytes] | None = field(default=None, repr=False)
    accesses: Accesses | None = None
    regime_step: RegimeStep | None = None


def order_of(question: EpisodicQuestion | SemanticQuestion) -> Callable[[Hit], Any]:
    """Return the sort key for a question's hits: nearest first.

    With the regime policy `prefer`, hits of other regimes come after those of the requested ones.
    As of a moment, equally near ones are in the order of their records, which begin with their ids:
    that of the index changes when one is rated or retires.
    """
    if question.filter.as_of is not None:
        return lambda hit: (hit.regime_step == "other", hit.distance, hit.record)
    if isinstance(question, EpisodicQuestion) and question.regime_policy == "prefer":
        return lambda hit: (hit.regime_step == "other", hit.distance)
    return attrgetter("distance")


@dataclass(slots=True)
class Places:
    """Found memories as columns, in the answer's order: whose they are (`agents[which]`), the
    number that each got when it was stored, its distance, and whether it is of another regime than
    the requested one. A copy in the process gives views of arrays."""

    agents: list[str]
    which: list[int]
    seqs: Sequence[int]
    distances: Sequence[float]
    is_other: list[bool]

    def __len__(self) -> int:
        return len(self.seqs)

    def without(self, agent_id: str, seq: int) -> "Places":
        """Return all but this memory."""
        if seq not in self.seqs:
            return self
        for i, found in enumerate(self.seqs):
            if found == seq and self.agents[self.which[i]] == agent_id:
                return Places(
                    self.agents,
                    self.which[:i] + self.which[i + 1 :],
                    [*self.seqs[:i], *self.seqs[i + 1 :]],
                    [*self.distances[:i], *self.distances[i + 1 :]],
                    self.is_other[:i] + self.is_other[i + 1 :],
                )
        return self


def merged_places(
    parts: Sequence[Places], top_k: int, *, may_repeat: bool = False, is_past: bool = False
) -> Places:
    """Return the first `top_k` of all parts: those of the requested regime first, then the nearest.

    Equally near ones are in the order of their agents' names and of storing; those of a single part
    as they are, unless `is_past`: the index's order changes when one is rated or retires.
    `may_repeat`: parts may hold the same memory, which counts once.
    """
    if len(parts) == 1 and len(parts[0]) <= top_k:
        (only,) = parts
        if not is_past or len(set(only.distances)) == len(only):
            return only
    agents: list[str] = []
    rows: list[tuple[bool, float, str, int, int]] = []
    for part in parts:
        base, names = len(agents), part.agents
        agents += names
        columns = zip(part.is_other, part.distances, part.which, part.seqs, strict=True)
        rows += [(other, away, names[at], seq, base + at) for other, away, at, seq in columns]
    rows.sort()
    if may_repeat:
        rows = list({row[2:4]: row for row in reversed(rows)}.values())[::-1]
    others, distances, _, seqs, which = zip(*rows[:top_k], strict=True) if rows else ((),) * 5
    return Places(agents, list(which), list(seqs), list(distances), list(others))


ArmName = Literal["memory", "no_memory", "placebo"]
"""What answers a recall: the memory, nothing, or the memory asked with another state."""

ARMS: tuple[ArmName, ...] = get_args(ArmName)


@dataclass(slots=True)
class Answer:
    """What a search found, in the order of `order_of`, and how far it can be trusted.

    `exact`: no nearer memory exists, judged by the vectors as stored. `partial`: part of the memory
    could not be searched. `served_by` names the node that answered. `may_lag`: the answer came from
    a replica that may lack writes which this process knows of, so it is not cached. `places`
    replace `hits` if the question asked for places. `candidates`: how many memories were examined
    to find distinct hits. `future_outcomes`: how many have an outcome later than now. `whole_since`
    (unix seconds) is later than the question's moment: what had retired by then was purged, and may
    be missing. `silent_groups` did not answer a question about many agents.
    `recall_id` and `arm`: where they were asked for, see app/decisions. `metric`: the id of
    the learned distance that it is by.
    """

    hits: tuple[Hit, ...]
    exact: bool
    partial: bool
    served_by: str
    cached: bool = False
    may_lag: bool = False
    trace: Trace | None = None
    candidates: int | None = None
    future_outcomes: int = 0
    whole_since: float | None = None
    places: Places | None = None
    silent_groups: tuple[str, ...] = ()
    recall_id: str | None = None
    arm: ArmName | None = None
    metric: str | None = None

    @property
    def is_lasting(self) -> bool:
        """Return whether the same question gets the same answer until the memory changes."""
        is_whole = not self.partial or (self.whole_since is not None and not self.silent_groups)
        return is_whole and not self.may_lag


NOT_ASKED = Answer((), exact=True, partial=False, served_by="none")
"""What a question gets that no memory may answer."""

Question = EpisodicQuestion | SemanticQuestion

IndexKind = Literal["episodic", "shared", "semantic"]
"""HNSW indexes: one agent's own, the one shared by all agents, and that of the swarm's concepts."""


StoreStatus = Literal["created", "unchanged"]
"""The result of a confirmed store: a new memory, or the same one again."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A confirmed store. `token` is the replication id and offset that include it."""

    id: str
    status: StoreStatus
    token: str


AgeBy = Literal["recorded_at", "timestamp"]
"""Which time sets an experience's age: when it was stored, or the market's."""
