"""Reads the service's problem answers (RFC 9457)."""

import httpx


def is_retryable(response: httpx.Response) -> bool:
    """Whether the same request may be sent again: the problem says so, or its status does."""
    match _problem(response):
        case {"retryable": bool(retryable)}:
            return retryable
        case _:
            return response.status_code in {429, 502, 503, 504}


def problem_detail(response: httpx.Response) -> str:
    """The sentence of a problem answer, or its status when it holds none."""
    match _problem(response):
        case {"detail": str(detail)}:
            return detail
        case _:
            return f"HTTP status {response.status_code}"


def _problem(response: httpx.Response) -> object:
    try:
        return response.json()
    except ValueError:
        return None
