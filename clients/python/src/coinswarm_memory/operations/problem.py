"""Turn a problem into the error of its code."""

from typing import Any

import msgspec

from coinswarm_memory.errors import ServiceProblem, UnknownProblem
from coinswarm_memory.operations.request import Reply
from coinswarm_memory.problems import CLASSES


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Problem details as the service sends them."""

    code: str = ""
    detail: str = ""
    status: int = 0
    title: str = ""
    retryable: bool = False
    field: str | None = None
    errors: list[dict[str, Any]] | None = None
    request_id: str | None = None
    id: str | None = None


def error_of(reply: Reply) -> ServiceProblem:
    """Return the error that a reply of status 400 or above stands for."""
    try:
        problem = msgspec.json.decode(reply.body, type=Problem)
    except msgspec.MsgspecError:
        problem = Problem(detail=f"Status {reply.status} without a problem that can be read.")
    return error_from(
        problem,
        status=reply.status,
        request_id=reply.headers.get("x-request-id"),
        retry_after_s=_seconds(reply.headers.get("retry-after")),
    )


def error_from(
    problem: Problem,
    *,
    status: int | None = None,
    request_id: str | None = None,
    retry_after_s: float | None = None,
) -> ServiceProblem:
    """Return the error of a problem, also of one that is part of a larger reply."""
    fields: dict[str, Any] = {
        "status": status or problem.status,
        "title": problem.title,
        "retryable": problem.retryable,
        "field": problem.field,
        "errors": problem.errors or (),
        "request_id": problem.request_id or request_id,
        "retry_after_s": retry_after_s,
        "id": problem.id,
    }
    found = CLASSES.get(problem.code)
    if found is None:
        return UnknownProblem(problem.detail, unknown_code=problem.code, **fields)
    return found(problem.detail, **fields)


def _seconds(header: str | None) -> float | None:
    """Return Retry-After in seconds; a date, which the service does not send, is ignored."""
    try:
        return None if header is None else float(header)
    except ValueError:
        return None
