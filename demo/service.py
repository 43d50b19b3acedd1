"""Whether the service is there, and what its problem answers (RFC 9457) say."""

from collections.abc import Container

import httpx


class NoServiceError(Exception):
    """The memory service is not at the address; the message says what to do."""


def require_service(url: str) -> None:
    """Raises NoServiceError unless the memory service answers at `url`."""
    try:
        response = httpx.get(f"{url}/livez", timeout=10.0, trust_env=False)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise NoServiceError(
            f"No service answers at {url}: run `make serve` in another terminal, then `make demo`."
        ) from error
    if not response.is_success:
        raise NoServiceError(
            f"What answers at {url} is not the memory service (/livez gives "
            f"{response.status_code}): give the right address with --url."
        )


async def others_agents(client: httpx.AsyncClient, own: Container[str]) -> list[str]:
    """Return agents of the service that are not the demo's; empty where it may not be asked."""
    answer = await client.get("/v1/stats", params={"limit": 1000})
    if not answer.is_success:
        return []
    return [a["agent_id"] for a in answer.json()["agents"] if a["agent_id"] not in own]


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
