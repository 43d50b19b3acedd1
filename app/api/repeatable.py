"""Lets a caller repeat a store that may have happened without storing the memory twice."""

from collections.abc import Sequence
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.types import Scope

from app.contract.requests import EpisodicStore, SemanticStore
from app.errors import MemoryServiceError
from app.memory.storing import new_id

_MADE_ID = "coinswarm.made_id"
_NAMELESS_ITEMS = "coinswarm.nameless_items"

StoreT = TypeVar("StoreT", EpisodicStore, SemanticStore)


def named(request: Request, memory: StoreT, idempotency_key: str | None) -> StoreT:
    """Return the memory with an id: its own, or a new one that an error of this request reports."""
    if memory.id is not None or idempotency_key is not None:
        return memory
    request.scope[_MADE_ID] = made = new_id()
    return memory.model_copy(update={"id": made})


def note_batch(request: Request, items: Sequence[object], idempotency_key: str | None) -> None:
    """Remember whether any item of a batch has no id, so that a repeat would store it twice."""
    if idempotency_key is None:
        request.scope[_NAMELESS_ITEMS] = any(_is_nameless(item) for item in items)


def _is_nameless(item: object) -> bool:
    if isinstance(item, BaseModel):
        return getattr(item, "id", None) is None
    return isinstance(item, dict) and item.get("id") is None


def problem_of_item(error: MemoryServiceError, item: object, scope: Scope) -> dict[str, object]:
    """Return the problem of one item of a batch, marked not retryable if it would store twice."""
    problem = error.problem()
    if error.may_have_happened and _NAMELESS_ITEMS in scope and _is_nameless(item):
        return problem | {
            "retryable": False,
            "detail": f"{error.detail} The memory may be stored, and without an id it would be "
            "stored twice: give it one.",
        }
    return problem


def id_of_item(item: object) -> str | None:
    """Return the id that was sent with an item of a batch."""
    given = item.get("id") if isinstance(item, dict) else getattr(item, "id", None)
    return given if isinstance(given, str) else None


def problem_of(error: MemoryServiceError, scope: Scope) -> dict[str, object]:
    """Return the error's problem, marked not retryable if the same request would store twice."""
    problem = error.problem()
    if not error.may_have_happened:
        return problem
    made_id = scope.get(_MADE_ID)
    if made_id is not None:
        return problem | {
            "id": made_id,
            "retryable": False,
            "detail": f"{error.detail} The memory may be stored: to repeat it safely, send it with "
            f'"id": "{made_id}".',
        }
    if scope.get(_NAMELESS_ITEMS):
        return problem | {
            "retryable": False,
            "detail": f"{error.detail} Some memories may be stored, and those without an id would "
            "be stored twice: give each memory an id, or the batch an Idempotency-Key.",
        }
    return problem
