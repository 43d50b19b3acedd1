"""Operations on what the whole swarm knows."""

from collections.abc import Mapping
from typing import Any

import msgspec

from coinswarm_memory.answers.concepts import Concept, ConceptAnswer
from coinswarm_memory.answers.stored import Stored
from coinswarm_memory.operations.request import Operation, Request, escaped, post, reading

_ROOT = "/v1/semantic"


class ConceptPage(msgspec.Struct, frozen=True):
    """One page of concepts."""

    memories: list[Concept]
    total: int
    next_cursor: str | None = None


class Patched(Concept, frozen=True, kw_only=True):
    """A concept as it is after a change."""

    token: str


_stored = reading(Stored)
_answer = reading(ConceptAnswer)
_page = reading(ConceptPage)
_concept = reading(Concept)
_patched = reading(Patched)


def store(concept: Mapping[str, Any]) -> Operation[Stored]:
    """Store one concept, which carries its id."""
    return Operation(post(_ROOT, concept), _stored)


def search(question: Mapping[str, Any]) -> Operation[ConceptAnswer]:
    """Find the most similar concepts."""
    return Operation(post(f"{_ROOT}/search", question), _answer)


def query(wanted: Mapping[str, Any]) -> Operation[ConceptPage]:
    """List concepts in an order, one page."""
    return Operation(post(f"{_ROOT}/query", wanted), _page)


def fetch(concept_id: str, as_of: float | None) -> Operation[Concept]:
    """Read one concept with its vector."""
    asked = "" if as_of is None else f"?as_of={as_of!r}"
    return Operation(Request("GET", f"{_ROOT}/{escaped(concept_id)}{asked}"), _concept)


def patch(concept_id: str, changes: Mapping[str, Any]) -> Operation[Patched]:
    """Replace some fields of a concept."""
    body = msgspec.json.encode(changes)
    return Operation(Request("PATCH", f"{_ROOT}/{escaped(concept_id)}", body), _patched)


def delete(concept_id: str) -> Operation[None]:
    """Delete one concept."""
    request = Request("DELETE", f"{_ROOT}/{escaped(concept_id)}")
    return Operation(request, lambda _: None, gone_is_done=True)
