"""Checks that the service is there, and reads its problem answers (RFC 9457)."""

from collections.abc import Container

import httpx

from demo.client_key import VARIABLE

PROBLEM = "urn:coinswarm:problem:"


class NoServiceError(Exception):
    """The memory service is not at the address, or lets nobody in without a key; the message says
    what to do."""


def require_service(url: str) -> None:
    """Raise NoServiceError unless the memory service answers at `url`."""
    try:
        response = httpx.get(f"{url}/livez", timeout=10.0, trust_env=False)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise NoServiceError(
            f"No service answers at {url}: run `make serve` in another terminal, then `make demo`."
        ) from error
    if not response.is_success:
        raise _no_memory_service(url, f"/livez gives {response.status_code}")
    if _json(response) != {"status": "ok"}:
        raise _no_memory_service(url, "/livez gives another answer")


def _no_memory_service(url: str, why: str) -> NoServiceError:
    return NoServiceError(
        f"What answers at {url} is not the memory service ({why}): give the right address with "
        "--url."
    )


async def others_agents(
    client: httpx.AsyncClient, own: Container[str], dimension: int
) -> list[str] | None:
    """Return agents of the service that are not the demo's; None if the key may not ask for them.

    Raises NoServiceError for another program, a service of another `dimension`, or one that asks
    for a key.
    """
    answer = await client.get("/v1/stats", params={"limit": 1000})
    match answer.is_success, _json(answer):
        case True, {"agents": list(agents), "dimension": int(found)}:
            if found != dimension:
                raise NoServiceError(
                    f"The service at {client.base_url} takes vectors of {found} numbers, the "
                    f"demo's have {dimension}: start one with MEMORY_DIMENSION={dimension}, or "
                    "give another address with --url."
                )
            return [agent["agent_id"] for agent in agents if agent["agent_id"] not in own]
        case False, {"type": str(kind)} if kind.startswith(PROBLEM) and answer.status_code == 401:
            raise NoServiceError(
                f"{client.base_url} asks for an API key: set {VARIABLE} to one that may write "
                "(`./memory keys create --role write` makes it)."
            )
        case False, {"type": str(kind)} if kind.startswith(PROBLEM):
            return None
    raise _no_memory_service(str(client.base_url), f"/v1/stats gives {answer.status_code}")


def is_retryable(response: httpx.Response) -> bool:
    """Return whether the same request may be sent again, by its problem or its status."""
    match _json(response):
        case {"retryable": bool(retryable)}:
            return retryable
        case _:
            return response.status_code in {429, 502, 503, 504}


def problem_detail(response: httpx.Response) -> str:
    """Return the sentence of a problem answer, or its status if it has none."""
    match _json(response):
        case {"detail": str(detail)}:
            return detail
        case _:
            return f"HTTP status {response.status_code}"


def _json(response: httpx.Response) -> object:
    try:
        return response.json()
    except ValueError:
        return None
