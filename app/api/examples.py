"""Requests that work as they are offered on the docs page."""

from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel

from app import schemas
from app.retention_schemas import Retention
from app.vectors import to_base64

EXAMPLE_SEED = 7
EXAMPLE_AGENT = "agent_1"
EXAMPLE_ID = "BTC-USD-2026-01-01"
EXAMPLE_OPEN_ID = "BTC-USD-2026-01-01-open"
EXAMPLE_CONCEPT_ID = "breakout-after-quiet"
BASE64_NOTE = (
    "The example's vectors are base64 of little-endian float32 numbers, as "
    "`base64.b64encode(numpy.asarray(state, '<f4'))` makes them. A list of numbers is fine too."
)


def path_example(template: str, name: str) -> str:
    """Return a name for a path that leads to what the store examples stored."""
    if name == "agent_id":
        return EXAMPLE_AGENT
    if template.endswith("/outcome"):
        return EXAMPLE_OPEN_ID
    return EXAMPLE_ID if "/episodic/" in template else EXAMPLE_CONCEPT_ID


def example_vector(dimension: int) -> str:
    """A vector of this dimension, the same one every time, as base64."""
    values = np.random.default_rng(EXAMPLE_SEED).normal(size=dimension)
    return to_base64(values.astype("<f4").tobytes())


def examples_for(dimension: int) -> Mapping[type[BaseModel], dict[str, object]]:
    """One example for each request body."""
    vector = example_vector(dimension)
    episode = {
        "id": EXAMPLE_ID,
        "agent_id": "agent_1",
        "product_id": "BTC-USD",
        "regime": "bull_low_vol",
        "state_vector": vector,
        "action": "buy",
        "reward": 0.012,
        "timestamp": 1767225600.0,
        "outcome_at": 1767312000.0,
        "metadata": {"strategy": "trend"},
    }
    open_episode = {
        name: value
        for name, value in (episode | {"id": EXAMPLE_OPEN_ID}).items()
        if name not in ("reward", "outcome_at")
    }
    concept = {
        "id": EXAMPLE_CONCEPT_ID,
        "memory_type": "PATTERN",
        "regime_name": "bull_low_vol",
        "concept_vector": vector,
        "sharpe_ratio": 1.4,
        "win_rate": 0.58,
        "metadata": {"name": "breakout after quiet"},
    }
    return {
        schemas.EpisodicStore: episode,
        schemas.EpisodicStoreBatch: {"memories": [episode, open_episode]},
        schemas.EpisodicSearch: {
            "agent_id": "agent_1",
            "state_vector": vector,
            "top_k": 5,
            "product_id": "BTC-USD",
            "min_reward": 0.0,
        },
        schemas.EpisodicSearchBatch: {
            "searches": [{"agent_id": "agent_1", "state_vector": vector, "top_k": 3}]
        },
        schemas.EpisodicQuery: {
            "agent_id": "agent_1",
            "since": 1767139200.0,
            "min_reward": 0.01,
            "sort_by": "reward",
            "limit": 10,
        },
        schemas.EpisodicEstimate: {
            "agent_id": "agent_1",
            "state_vector": vector,
            "top_k": 50,
            "regime": "bull_low_vol",
            "regime_policy": "prefer",
            "stop_loss": 0.02,
        },
        schemas.EpisodicSample: {
            "agent_id": "agent_1",
            "size": 32,
            "strategy": "prioritized",
            "stratify_by": "regime",
            "seed": 7,
        },
        schemas.EpisodicPatch: {"quality": 0.8, "priority": 2.5},
        schemas.EpisodicDelete: {"agent_id": "agent_1", "until": 1735689600.0, "dry_run": True},
        schemas.Outcome: {"reward": 0.02, "terminal": True},
        schemas.SemanticQuery: {"memory_type": "PATTERN", "sort_by": "sharpe_ratio", "limit": 5},
        schemas.SemanticDelete: {"regime_name": "bear", "dry_run": True},
        schemas.SemanticStore: concept,
        schemas.SemanticStoreBatch: {"memories": [concept]},
        schemas.SemanticPatch: {"sharpe_ratio": 1.7, "win_rate": 0.61, "pinned": True},
        Retention: {"dry_run": True, "episodic_max_age_days": 90},
        schemas.SemanticSearch: {"concept_vector": vector, "top_k": 3, "memory_type": "PATTERN"},
    }
