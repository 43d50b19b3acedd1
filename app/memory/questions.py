"""Turns a caller's request into the typed filter and question that the read path answers.

`as_of=T` asks for what was known at T. A backtest must never ask anything else: a caller whose key
requires it, and every caller if MEMORY_REQUIRE_AS_OF is set, is refused without it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

import orjson

from app.auth.caller import caller
from app.contract.requests import (
    EpisodicSearch,
    EpisodicWindow,
    ExperienceConditions,
    SemanticConditions,
    SemanticQuery,
    SemanticSearch,
)
from app.errors import InvalidInput
from app.model import (
    EVERY_EXPERIENCE,
    Answer,
    EpisodicFilter,
    EpisodicQuestion,
    Scope,
    SemanticFilter,
    Trace,
    horizon_name,
)

_CONDITIONS = frozenset((*ExperienceConditions.model_fields, "horizon"))


def episodic_filter(request: ExperienceConditions) -> EpisodicFilter:
    """Return the filter of a search. Raise InvalidInput if `as_of` is required but missing."""
    if request.model_fields_set.isdisjoint(_CONDITIONS):
        checked(None)
        return EVERY_EXPERIENCE
    return EpisodicFilter(
        product_id=_tags(request.product_id),
        regime=_tags(request.regime),
        action=_tags(request.action),
        min_reward=request.min_reward,
        max_reward=request.max_reward,
        since=request.since,
        until=request.until,
        terminal=request.terminal,
        as_of=checked(request.as_of),
        min_quality=request.min_quality,
        episode_id=_tags(request.episode_id),
        min_step=_highest(request.step, request.min_step),
        max_step=_lowest(request.step, request.max_step),
        recorded_by=request.recorded_by,
        horizon=_horizon(request),
    )


def _horizon(request: ExperienceConditions) -> str | None:
    """Return the name of the horizon that a search or estimate asks for."""
    given = request.horizon if isinstance(request, EpisodicSearch) else None
    return None if given is None else horizon_name(given)


def episodic_window_filter(request: EpisodicWindow, since: float | None) -> EpisodicFilter:
    """Return the filter of a query or deletion. `since` (unix seconds) replaces `hours`."""
    wanted = episodic_filter(request)
    return wanted if since is None else replace(wanted, since=since)


def known_concepts(request: SemanticSearch | SemanticQuery) -> SemanticFilter:
    """Return a search's or query's filter. Raise InvalidInput without a required `as_of`."""
    return replace(semantic_filter(request), as_of=checked(request.as_of))


def semantic_filter(request: SemanticConditions) -> SemanticFilter:
    """Return the filter of any question about current concepts."""
    return SemanticFilter(
        memory_type=_tags(request.memory_type),
        regime_name=_tags(request.regime_name),
        min_sharpe_ratio=request.min_sharpe_ratio,
        min_win_rate=request.min_win_rate,
        min_access_count=request.min_access_count,
    )


def _tags(values: Sequence[str] | None) -> tuple[str, ...]:
    """Return the values sorted and without duplicates, so that equal questions compare equal."""
    return tuple(sorted(set(values))) if values else ()


SECONDS_PER_DAY = 86_400.0
SHARED_STEP_S = 60.0
"""The age limit for sharing advances in steps, so that the same question a moment later is still
equal."""


def episodic_question(
    request: EpisodicSearch, *, shared_max_age_days: float, now: float
) -> EpisodicQuestion:
    """Return the whole question. With `shared_max_age_days` 0, memories of any age are shared.

    Raise InvalidInput if `as_of` is required but missing.
    """
    wanted = episodic_filter(request)
    moment = now if wanted.as_of is None else wanted.as_of
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
        shared_since=shared_since(request.scope, moment, shared_max_age_days),
        trace=Trace() if request.explain else None,
    )


def shared_since(scope: Scope, moment: float, max_age_days: float) -> float | None:
    """Return from when on (unix seconds) other agents' memories answer a question of this moment.

    None: all of them do, or the question asks no other agent.
    """
    if scope == "own" or max_age_days <= 0:
        return None
    return (moment - max_age_days * SECONDS_PER_DAY) // SHARED_STEP_S * SHARED_STEP_S


def checked(as_of: float | None) -> float | None:
    """Return the moment that a question names. Raise InvalidInput if it must name one."""
    if as_of is None and caller.get().require_as_of:
        raise InvalidInput(
            "as_of: is required here: name the moment (unix seconds) whose knowledge may answer.",
            field="as_of",
        )
    return as_of


def was_known(shown: Mapping[str, Any], as_of: float | None, recorded_by: float | None) -> bool:
    """Return whether an experience, as it was known then, existed for such a question."""
    if recorded_by is not None and shown.get("recorded_at", -inf) > recorded_by:
        return False
    if as_of is None:
        return True
    outcome_at = shown["outcome_at"]
    return outcome_at is not None and outcome_at <= as_of and shown["timestamp"] <= as_of


_LATER = (b'"quality_at":', b'"priority_at":', b'"outcomes":', b'"outcome_recorded_at":')


def as_known(record: bytes, as_of: float | None, recorded_by: float | None = None) -> bytes:
    """Return a record without what was said later, or recorded later.

    This concerns its ratings, its outcomes at other horizons, and its primary outcome if that is
    one of them.
    """
    if (as_of is None and recorded_by is None) or not any(name in record for name in _LATER):
        return record
    decoded: dict[str, Any] = orjson.loads(record)
    moment = inf if as_of is None else as_of
    by = inf if recorded_by is None else recorded_by
    for name in ("quality", "priority"):
        said, told = decoded.get(f"{name}_at", -inf), decoded.get(f"{name}_recorded_at", -inf)
        if said > moment or max(said, told) > by:
            for part in ("", "_at", "_recorded_at"):
                decoded.pop(name + part, None)
    known_at = decoded["outcome_at"]
    if known_at is not None and (
        known_at > moment or decoded.get("outcome_recorded_at", -inf) > by
    ):
        decoded |= {"reward": None, "outcome_at": None, "terminal": False}
        decoded.pop("outcome_recorded_at", None)
    if "outcomes" in decoded:
        known = [
            outcome
            for outcome in decoded["outcomes"]
            if outcome["outcome_at"] <= moment and outcome.get("recorded_at", -inf) <= by
        ]
        decoded["outcomes"] = known
        if not known:
            del decoded["outcomes"]
    return orjson.dumps(decoded)


def hits_as_known(answer: Answer, as_of: float | None, recorded_by: float | None) -> Answer:
    """Return an answer without what was said or recorded later."""
    if as_of is None and recorded_by is None:
        return answer
    hits = [replace(hit, record=as_known(hit.record, as_of, recorded_by)) for hit in answer.hits]
    return replace(answer, hits=tuple(hits))


_OUTCOME_AT = b'"outcome_at":'
_WHOLE_SECONDS = re.compile(rb"\d+")


def with_future_outcomes(answer: Answer, now: float) -> Answer:
    """Return the answer with the number of its memories whose outcome is later than now."""
    # The primary outcome comes before all others, and before the metadata.
    times = [hit.record.partition(_OUTCOME_AT)[2][:_TIME_CHARACTERS] for hit in answer.hits]
    # Nearly every time has ten digits before its point; such times compare as text.
    are_past = max(times, default=b"") <= b"%010d." % now
    if are_past and b"".join(times).count(b".") == len(times):
        return answer
    seconds = [_WHOLE_SECONDS.match(time) for time in times]
    later = len([found for found in seconds if found is not None and int(found[0]) > now])
    return replace(answer, future_outcomes=later) if later else answer


_TIME_CHARACTERS = 11
"""Up to the point, of a time to the year 2286. Longer ones are later than now even if cut off."""


def uncounted(record: bytes) -> bytes:
    """Return a concept's record for a past moment, for which access counts are not known."""
    return b'%b,"access_count":null,"last_accessed":null}' % record[:-1]


def refuse_present(what: str) -> None:
    """Raise InvalidInput if the caller must send `as_of`, because `what` shows only the present."""
    if caller.get().require_as_of:
        raise InvalidInput(
            f"as_of: is required here, and {what} knows only the present: use a service or key "
            "that does not require it.",
            field="as_of",
        )


def _highest(*steps: int | None) -> int | None:
    return max((step for step in steps if step is not None), default=None)


def _lowest(*steps: int | None) -> int | None:
    return min((step for step in steps if step is not None), default=None)
