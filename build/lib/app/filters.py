"""Which memories a question is about, typed and without any Redis syntax."""

from dataclasses import dataclass
from typing import Literal

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
