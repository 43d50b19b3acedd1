"""Redirects: the root page, the tab's icon, and paths with a superfluous trailing slash."""

from urllib.parse import urlsplit

from fastapi import APIRouter
from fastapi.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

DOCS = "/docs"
CONSOLE = "/console/"
STATIC_FILES = "/static-offline-docs"
ICON = f"{STATIC_FILES}/favicon.png"

router = APIRouter(include_in_schema=False)


@router.get("/")
@router.get("/console")
async def console() -> RedirectResponse:
    """Redirect to the console, whose files are relative to the path with the slash."""
    return RedirectResponse(CONSOLE)


@router.get("/redoc")
async def redoc() -> RedirectResponse:
    """Redirect to the one docs page."""
    return RedirectResponse(DOCS)


@router.get("/favicon.ico")
async def favicon() -> RedirectResponse:
    """Redirect to the icon of the docs page; browsers request this path on every page."""
    return RedirectResponse(ICON)


class RelativeRedirects:
    """Removes the host from redirects: Starlette repeats the one that the caller sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or the lifespan."""

        async def send_relative(message: Message) -> None:
            if message["type"] == "http.response.start" and 300 <= message["status"] < 400:
                message["headers"] = [
                    (name, _relative(value) if name == b"location" else value)
                    for name, value in message["headers"]
                ]
            await send(message)

        await self._app(scope, receive, send_relative)


def _relative(location: bytes) -> bytes:
    parts = urlsplit(location)
    return parts._replace(scheme=b"", netloc=b"").geturl()
