"""Serves the console's files at /console. The page gets its data through the public API."""

import mimetypes
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.console import STATIC

PATH = "/console"

RUNBOOKS = Path(__file__).parents[3] / "docs" / "runbooks"

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Restricts the page to its own files and this service's API."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # The browser revalidates each time (304 if unchanged), so a new release shows at once.
    "Cache-Control": "no-cache",
}

# Systems map these suffixes differently, and browsers run no module with another media type.
mimetypes.add_type("text/javascript", ".js")
mimetypes.add_type("text/markdown", ".md")


class _ConsoleFiles(StaticFiles):
    """Static files with the console's headers."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file, or 304 if the browser already has it."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


def install(app: FastAPI) -> None:
    """Serve the console's files and the runbooks that it links to."""
    if RUNBOOKS.is_dir():  # an installation of the package alone has none
        app.mount(f"{PATH}/runbooks", _compressed(RUNBOOKS, html=False), name="console-runbooks")
    app.mount(PATH, _compressed(STATIC, html=True), name="console")


def _compressed(folder: Path, *, html: bool) -> GZipMiddleware:
    return GZipMiddleware(_ConsoleFiles(directory=folder, html=html), minimum_size=1000)
