"""The errors, headers and parameters that every operation has."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from app import errors
from app.api import http_errors
from app.api.error_handlers import MEDIA_TYPE, problem_of_http
from app.contract.answers import Problem
from app.errors import MemoryServiceError, StartError, TransferError

HTTP_CODES = ("not_found", "method_not_allowed")
"""Codes of problems that HTTP itself defines (app/api/error_handlers.py)."""

ALWAYS = (400, 403, 405, 421, 422, 500, 504)
"""422 and 504, since each operation takes `X-Deadline-Ms`."""
WITH_KEY = (401, 429)
WITH_BODY = (408, 415)

REQUEST_ID = {
    "description": "The request's own id, or one that the service made.",
    "schema": {"type": "string"},
}
RETRY_AFTER = {
    "description": "Seconds after which the same request may succeed.",
    "schema": {"type": "integer", "minimum": 0},
}
DURABILITY = {
    "description": "The durability that the write reached.",
    "schema": {"$ref": "#/components/schemas/Durability"},
}
ALLOW = {"description": "The methods of this path.", "schema": {"type": "string"}}
DEADLINE = {
    "name": "X-Deadline-Ms",
    "in": "header",
    "required": False,
    "description": "Milliseconds until the answer is no longer useful; after that, it is 504.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 600_000},
}
REQUEST_ID_PARAMETER = {
    "name": "X-Request-Id",
    "in": "header",
    "required": False,
    "description": "Your own id for the request; the answer and the log repeat it.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 128},
}


def known_errors() -> list[type[MemoryServiceError]]:
    """Return every error that can be an answer, in order of declaration."""
    declared = (*vars(errors).values(), *vars(http_errors).values())
    classes = dict.fromkeys(found for found in declared if isinstance(found, type))
    return [
        error
        for error in classes
        if issubclass(error, MemoryServiceError)
        and not issubclass(error, (StartError, TransferError))
    ]


def codes() -> list[str]:
    """Return every `code` that a problem may have."""
    return sorted({error.code for error in known_errors()} | set(HTTP_CODES))


def problem(status: int) -> dict[str, Any]:
    """Return the response for an error status, with one of its problems as the example."""
    response: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": f"#/components/schemas/{Problem.__name__}"},
                "example": _example(status),
            }
        },
    }
    if status in (429, 503):
        response["headers"] = {"Retry-After": RETRY_AFTER}
    if status == 405:
        response["headers"] = {"Allow": ALLOW}
    return response


def _example(status: int) -> Mapping[str, object]:
    for error in known_errors():
        if error.status == status and (status != 500 or error.code == "internal"):
            return {
                "type": f"urn:coinswarm:problem:{error.code}",
                "title": error.title,
                "status": status,
                "detail": "One sentence that says what to do.",
                "code": error.code,
                "retryable": error.retryable,
            }
    return problem_of_http(status)
