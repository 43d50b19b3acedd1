"""Values that travel between the routes, the read path and the storage.

Which memories a question is about, typed and without any Redis syntax.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Literal

Tags = tuple[str, ...]
"""Values of which one must match; empty: every value does."""


@dataclass(frozen=True, slots=True)
class EpisodicFilter:
    """Conditions on episodic memories; all given ones must hold.

    Rewards are in the agent's own unit; times are unix seconds; bounds are inclusive.
    A bound on the reward leaves out open memories, which have none yet. `as_of` leaves in what was
    known then: states and outcomes up to that moment. `closed` leaves out open memories.
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


EVERY_EXPERIENCE = EpisodicFilter()
"""No condition. The most usual filter: this very object stands for it, and is quickly told."""


@dataclass(frozen=True, slots=True)
class SemanticFilter:
    """Conditions on semantic memories; all given ones must hold. Bounds are inclusive.

    `as_of` leaves in what was created by that moment, as it was then.
    """

    memory_type: Tags = ()
    regime_name: Tags = ()
    min_sharpe_ratio: float | None = None
    min_win_rate: float | None = None
    min_access_count: int | None = None
    as_of: float | None = None


RegimePolicy = Literal["strict", "prefer", "any"]
"""What a named regime means: no other; no other while it has enough; only where a hit is from."""

Scope = Literal["own", "others", "all"]


@dataclass(slots=True)
class EpisodicMemory:
    """One experience of one agent. Vectors are little-endian float32 bytes, 4 * dimension long.

    Not frozen, nor is what becomes of it: a batch makes a thousand, and freezing takes as long as
    the hash of a vector.

    `reward` and `outcome_at` are None while the memory is open. `recorded_at` is when the service
    stored it, whatever moment `timestamp` is about. `digest` is a hash of what the
    caller sent, so that a repeated store is told from another memory under the same id.
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
    """What became of one question on its way, for a caller who asks for it.

    `waiting_ms` for a place in a batch, `redis_ms` the round trips, `decode_ms` from replies to
    hits; `searches` counts the indexes asked, of which `index` is the first.
    """

    index: str = ""
    algorithm: str = ""
    vector_type: str = ""
    searches: int = 0
    batch_size: int = 1
    waiting_ms: float = 0.0
    redis_ms: float = 0.0
    decode_ms: float = 0.0


@dataclass(slots=True)
class EpisodicQuestion:
    """A search in episodic memory: the whole question, and so the identity of its answer.

    Never changed, nor is an answer; frozen ones take four times as long to make.

    `shared_since` (unix seconds): other agents' older memories are not shared any more.
    One with a `trace` is asked anew: no answer is kept, or shared, for it. `among` names the agents
    that one shard of several is asked for; None: those that `scope` means.
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
    among: tuple[str, ...] | None = None

    def __hash__(self) -> int:
        # Of what sets questions apart nearly always; equal are only those equal in everything.
        return hash((self.agent_id, self.vector))


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
    """How often searches found a concept, and when last (unix seconds; None: never).

    `seq` is the number that the concept got when it was stored: another one under the same id has
    another number.
    """

    id: str
    seq: int
    count: int
    last_accessed: float | None


RegimeStep = Literal["asked", "other"]
"""Where a hit came from: the asked regime, or another one that fills up."""


@dataclass(slots=True)
class Hit:
    """One found memory, never changed; frozen ones take four times as long to make.

    Its record (JSON bytes without vectors) and its cosine distance.

    `vectors` holds the stored vectors by field name when they were asked for; `accesses` is None
    for an experience. `regime_step`: of the asked regime or not, where both may answer.
    """

    record: bytes = field(repr=False)
    distance: float
    vectors: dict[str, bytes] | None = field(default=None, repr=False)
    accesses: Accesses | None = None
    regime_step: RegimeStep | None = None


def order_of(question: EpisodicQuestion | SemanticQuestion) -> Callable[[Hit], Any]:
    """Return the sort key of a question's hits: nearest first.

    With the regime policy `prefer`, hits of other regimes stand behind those of the asked ones.
    """
    if isinstance(question, EpisodicQuestion) and question.regime_policy == "prefer":
        return lambda hit: (hit.regime_step == "other", hit.distance)
    return attrgetter("distance")


@dataclass(slots=True)
class Answer:
    """What a search found, in the order of `order_of`, and how far it can be trusted.

    `exact` says that no nearer memory exists, by the vectors as they are stored; `partial` that
    part of the memory could not be searched; `served_by` names the node that answered. `may_lag`: a
    replica gave it that may lack writes which this process was told of; nobody keeps it.
    """

    hits: tuple[Hit, ...]
    exact: bool
    partial: bool
    served_by: str
    cached: bool = False
    may_lag: bool = False
    trace: Trace | None = None


IndexKind = Literal["episodic", "shared", "semantic"]
"""Of HNSW indexes: an agent's own, the one of all agents, the swarm's concepts."""


StoreStatus = Literal["created", "unchanged"]
"""A store that was confirmed: a new memory, or the very same one again."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A confirmed store. `token` is the replication id and offset that include it."""

    id: str
    status: StoreStatus
    token: str


AgeBy = Literal["recorded_at", "timestamp"]
"""Which time of an experience makes its age: that of storing, or the market's."""
