"""Turns every error into an HTTP answer, and says which errors a route may answer with."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from app.api.permissions import methods_of
from app.api.repeatable import problem_of
from app.contract.parse import invalid_input
from app.errors import MemoryServiceError
from app.log_config import current_request_id

logger = logging.getLogger(__name__)

SERVER_ERROR = 500
CLIENT_GONE = 499
"""nginx's status for requests whose caller left before the answer."""


def install(app: FastAPI) -> None:
    """Make the app answer every error as problem details."""
    app.add_exception_handler(MemoryServiceError, _own_error)
    app.add_exception_handler(RequestValidationError, _parameter_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, unexpected_error)


def problem_response(
    problem: Mapping[str, object], status: int, headers: Mapping[str, str] | None = None
) -> Response:
    """Return problem details with the request's id."""
    content = orjson.dumps({**problem, "request_id": current_request_id()})
    return Response(content, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def error_response(error: MemoryServiceError, scope: Scope | None = None) -> Response:
    """Return the answer to one of the service's own errors, and log it from status 500 on.

    `scope` is that of a request that may have stored something.
    """
    if error.status >= SERVER_ERROR:
        cause, told = error.__cause__, (error.code, error.detail)
        if cause is None:
            logger.warning("%s: %s", *told)
        else:
            logger.warning("%s: %s", *told, extra={"cause": f"{type(cause).__name__}: {cause}"})
    problem = error.problem() if scope is None else problem_of(error, scope)
    return problem_response(problem, error.status, error.headers())


def problem_of_http(status: int) -> dict[str, object]:
    """Return the problem details of an error of HTTP itself, such as 404."""
    phrase = HTTPStatus(status).phrase
    return {
        "type": "about:blank",
        "title": phrase,
        "status": status,
        "detail": f"{phrase}: see /docs for the paths and methods of this service.",
        "code": phrase.lower().replace(" ", "_"),
        "retryable": False,
    }


def http_problem(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer for an error of HTTP itself: no such path, or not with this method."""
    return problem_response(problem_of_http(status), status, headers)


async def _own_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, MemoryServiceError)
    return error_response(error, request.scope)


async def _parameter_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # The first part of a place is where the parameter was: the path, the query or a header.
    return error_response(invalid_input([(item["loc"][1:], item) for item in error.errors()]))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if "Allow" in headers:
        # Starlette names only the methods of the first route with this path.
        headers["Allow"] = ", ".join(methods_of(request.scope["path"]))
    return http_problem(error.status_code, headers)


async def _gone(_: Request, __: Exception) -> Response:
    return gone_response()


def gone_response() -> Response:
    """Return the answer to a caller that left while sending its body. Nobody reads it."""
    return Response(status_code=CLIENT_GONE)


async def unexpected_error(request: Request, error: Exception) -> Response:
    """Log an unhandled exception and answer 500.

    FastAPI calls this for its own routes, the server (app/server/answer_cycle.py) for all else.
    """
    del request
    logger.error("unexpected error", exc_info=error)
    problem = MemoryServiceError(
        "The service failed: report this with the request id, which is also in its log."
    )
    # uvicorn closes the connection; without this header a client's pool would reuse it.
    return problem_response(problem.problem(), problem.status, {"Connection": "close"})


MEDIA_TYPE = "application/problem+json"


def of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that can answer with these error statuses.

    Any route may also find the body too large (413), the deadline passed (504) or Redis unavailable
    (503). The document fills in their content (app/api/openapi.py).
    """
    return {status: {} for status in sorted({*statuses, 413, 503, 504})}
