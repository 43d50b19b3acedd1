"""From a checked search to the question that the read path answers."""

from app.memory.conditions import episodic_filter
from app.records import EpisodicQuestion, Trace
from app.schemas import EpisodicSearch

SECONDS_PER_DAY = 86_400.0
SHARED_STEP_S = 60.0
"""The age at which memories cease to be shared moves on in steps: the same question a moment later
is the same question."""


def episodic_question(
    request: EpisodicSearch, *, shared_max_age_days: float, now: float
) -> EpisodicQuestion:
    """The whole question. `shared_max_age_days` 0: memories are shared at any age.

    Raises InvalidInput where `as_of` is required and not given.
    """
    wanted = episodic_filter(request)
    shared_since = None
    if request.scope != "own" and shared_max_age_days > 0:
        oldest = (now if wanted.as_of is None else wanted.as_of) - (
            shared_max_age_days * SECONDS_PER_DAY
        )
        shared_since = oldest // SHARED_STEP_S * SHARED_STEP_S
    return EpisodicQuestion(
        agent_id=request.agent_id,
        vector=request.state_vector,
        top_k=request.top_k,
        scope=request.scope,
        filter=wanted,
        max_distance=request.max_distance,
        exact=request.exact,
        include_vectors=request.include_vectors,
        consistency=request.consistency,
        regime_policy=request.regime_policy,
        shared_since=shared_since,
        trace=Trace() if request.explain else None,
    )
