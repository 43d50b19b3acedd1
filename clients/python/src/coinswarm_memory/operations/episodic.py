"""Operations on an agent's experiences."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec

from coinswarm_memory.answers.estimate import Calibration, Estimate, read_estimate
from coinswarm_memory.answers.experiences import Closed, Experience, Recall
from coinswarm_memory.answers.stored import Deleted, Stored
from coinswarm_memory.operations.fields import contract_fields
from coinswarm_memory.operations.problem import Problem
from coinswarm_memory.operations.request import (
    Operation,
    Reply,
    Request,
    escaped,
    post,
    reading,
)

_ROOT = "/v1/episodic"
MAX_SEARCHES = 256
MAX_VECTORS = 4096
"""Memories with vectors that one batch of searches may ask for."""

_stored = reading(Stored)
_recall = reading(Recall)
_experience = reading(Experience)
_closed = reading(Closed)
_calibration = reading(Calibration)
_deleted = reading(Deleted)


def searches_at_once(k: int, *, with_vectors: bool) -> int:
    """Return how many searches for `k` memories each fit into one request."""
    return max(1, min(MAX_SEARCHES, MAX_VECTORS // max(1, k))) if with_vectors else MAX_SEARCHES


class Page(msgspec.Struct, frozen=True):
    """One page of a query. `total`: all that match, on this page or not."""

    memories: list[Experience]
    total: int
    next_cursor: str | None = None


class PrioritiesChanged(msgspec.Struct, frozen=True, kw_only=True):
    """What became of new priorities: how many changed, and which memories are not there."""

    changed: int
    missing: list[str]
    token: str | None = None


class _Results(msgspec.Struct):
    results: list[msgspec.Raw]


_page = reading(Page)
_priorities = reading(PrioritiesChanged)
_results = reading(_Results)


def store(memory: Mapping[str, Any], durability: str | None) -> Operation[Stored]:
    """Store one experience, which carries its id."""
    return Operation(post(_ROOT, memory, durability=durability), _stored)


def search(question: Mapping[str, Any]) -> Operation[Recall]:
    """Find the most similar experiences."""
    return Operation(post(f"{_ROOT}/search", question), _recall)


def search_many(questions: Sequence[Mapping[str, Any]]) -> Operation[list[Recall | Problem]]:
    """Answer several searches at once; each has its answer or its problem."""
    return Operation(post(f"{_ROOT}/search/batch", {"searches": questions}), _read_results)


def estimate(question: Mapping[str, Any]) -> Operation[Estimate]:
    """Say what to expect of each action."""
    return Operation(post(f"{_ROOT}/estimate", question), lambda reply: read_estimate(reply.body))


def query(wanted: Mapping[str, Any]) -> Operation[Page]:
    """List experiences in an order, one page."""
    return Operation(post(f"{_ROOT}/query", wanted), _page)


def fetch(agent_id: str, memory_id: str, as_of: float | None) -> Operation[Experience]:
    """Read one experience with its vectors."""
    asked = "" if as_of is None else f"?as_of={as_of!r}"
    return Operation(Request("GET", f"{_path(agent_id, memory_id)}{asked}"), _experience)


def close(
    agent_id: str, memory_id: str, outcome: Mapping[str, Any], durability: str | None
) -> Operation[Closed]:
    """Record the outcome of an open memory."""
    path = f"{_path(agent_id, memory_id)}/outcome"
    return Operation(post(path, contract_fields(outcome), durability=durability), _closed)


def rate(agent_id: str, memory_id: str, rating: Mapping[str, Any]) -> Operation[Closed]:
    """Give a memory a quality or a priority."""
    body = msgspec.json.encode(contract_fields(rating))
    return Operation(Request("PATCH", _path(agent_id, memory_id), body), _closed)


def calibration(asked: Mapping[str, Any]) -> Operation[Calibration]:
    """Look back on estimates."""
    words = {name: _query_word(value) for name, value in asked.items()}
    return Operation(Request("GET", f"/v1/calibration?{urlencode(words)}"), _calibration)


def _query_word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def prioritize(agent_id: str, priorities: Mapping[str, float]) -> Operation[PrioritiesChanged]:
    """Give many memories new priorities at once."""
    items = [{"id": name, "priority": float(value)} for name, value in priorities.items()]
    body = {"agent_id": agent_id, "priorities": items}
    return Operation(post(f"{_ROOT}/priorities", body), _priorities)


def delete(agent_id: str, memory_id: str) -> Operation[None]:
    """Delete one experience."""
    request = Request("DELETE", _path(agent_id, memory_id))
    return Operation(request, lambda _: None, gone_is_done=True)


def delete_matching(wanted: Mapping[str, Any]) -> Operation[Deleted]:
    """Delete experiences by filter, or count them."""
    is_repeatable = bool(wanted["dry_run"])
    return Operation(post(f"{_ROOT}/delete", wanted), _deleted, repeatable=is_repeatable)


def _path(agent_id: str, memory_id: str) -> str:
    return f"{_ROOT}/{escaped(agent_id)}/{escaped(memory_id)}"


def _read_results(reply: Reply) -> list[Recall | Problem]:
    return [_answer_or_problem(raw) for raw in _results(reply).results]


def _answer_or_problem(raw: msgspec.Raw) -> Recall | Problem:
    problem = msgspec.json.decode(raw, type=Problem)
    return problem if problem.code else msgspec.json.decode(raw, type=Recall)
