"""One experience as the service stores it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from coinswarm_memory.encode.times import TimeLike
from coinswarm_memory.encode.vectors import ArrayLike, vector
from coinswarm_memory.errors import InvalidRows
from coinswarm_memory.identity import UNKNOWN, new_id
from coinswarm_memory.operations.fields import contract_fields

_NUMBERS = ("reward", "quality", "priority", "scale")


class ExperienceFields(TypedDict, total=False):
    """What an experience may hold beside its state. None counts as not given."""

    product: str | None
    regime: str | None
    action: str | None
    reward: float | None
    timestamp: TimeLike | None
    outcome_at: TimeLike | None
    terminal: bool | None
    next_state: ArrayLike | None
    metadata: dict[str, Any] | None
    id: str | None
    pinned: bool | None
    quality: float | None
    priority: float | None
    episode_id: str | None
    step: int | None
    scale: float | None
    outcomes: Sequence[Mapping[str, Any]] | None


class MoreExperience(TypedDict, total=False):
    """Further fields of an experience."""

    outcome_at: TimeLike | None
    terminal: bool | None
    next_state: ArrayLike | None
    pinned: bool | None
    quality: float | None
    priority: float | None
    episode_id: str | None
    step: int | None
    scale: float | None
    outcomes: Sequence[Mapping[str, Any]] | None


def experience(
    agent_id: str, state: ArrayLike, fields: ExperienceFields, dimension: int | None
) -> dict[str, Any]:
    """Return the body of one experience, with an id; vectors are float32 bytes.

    Raises InvalidVector, InvalidTime, InvalidNumber, InvalidRows.
    """
    given = dict(fields)
    next_state = given.pop("next_state", None)
    body = completed(agent_id, given)
    body["state_vector"] = vector(state, "state", dimension).tobytes()
    if next_state is not None:
        packed = vector(next_state, "next_state", dimension)  # type: ignore[arg-type]
        body["next_state_vector"] = packed.tobytes()
    return body


def completed(agent_id: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return fields without vectors under the contract's names, with what the contract requires.

    Raises InvalidTime, InvalidNumber, and InvalidRows for a number that is not finite.
    """
    for name in _NUMBERS:
        number = given.get(name)
        if number is None:
            continue
        try:
            is_finite = math.isfinite(number)
        except (TypeError, OverflowError) as error:
            raise InvalidRows(f"{name} must be a number: {error}") from error
        if not is_finite:
            raise InvalidRows(f"{name} must be finite, got {number}: leave it out where unknown")
        given[name] = float(number)
    body = contract_fields(given)
    if "id" not in body:
        body["id"] = new_id()
    body.setdefault("product_id", UNKNOWN)
    body.setdefault("regime", UNKNOWN)
    body["agent_id"] = agent_id
    return body
