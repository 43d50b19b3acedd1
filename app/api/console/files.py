"""The console's files at /console. Everything they show comes from the public API.

They are a few hundred kilobytes, so each is read and compressed once and then kept. A first visit
asks for three: the page, one script and one style sheet. The page names the versions of the other
two, which a browser therefore never has to ask for again.
"""

import asyncio
import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.api.console import bundle
from app.console import STATIC

RUNBOOKS = Path(__file__).parents[3] / "docs" / "runbooks"
"""An installation of the package alone has none."""

MAX_FILES = 256
MAX_NAME_BYTES = 255
"""No file system knows a longer one."""
NOT_MODIFIED, NOT_FOUND = 304, 404

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
"""What the browser lets the page do: nothing but its own files and this service's API."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Vary": "Accept-Encoding",
}

# The browser revalidates each time (304 if unchanged), so a new release shows at once.
REVALIDATED = "no-cache"
# The address changes with the content.
KEPT = "public, max-age=31536000, immutable"

PAGE, SCRIPT, SHEET = "index.html", "console.js", "console.css"
SHEETS = (
    "vendor/uplot.css",
    *(f"styles/{n}.css" for n in ("base", "shell", "parts", "views", "touch")),
)

# Systems give these suffixes different types, and browsers run no module of another type.
TYPES = {".js": "text/javascript", ".md": "text/markdown", ".json": "application/json"}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    compressed: bytes
    version: str
    media_type: str

    @property
    def etag(self) -> str:
        """Return the version as HTTP writes it."""
        return f'"{self.version}"'


@router.get("/console/{file:path}")
@router.head("/console/{file:path}")
async def console_file(request: Request, file: str) -> Response:
    """Return one of the console's files, or 304 if the browser has it."""
    found = await asyncio.to_thread(_known, file or PAGE)  # compressing takes milliseconds
    if found is None:
        raise HTTPException(NOT_FOUND)
    is_version = request.query_params.get("v") == found.version
    headers = HEADERS | {"ETag": found.etag, "Cache-Control": KEPT if is_version else REVALIDATED}
    if found.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=NOT_MODIFIED, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(found.compressed, headers=headers, media_type=found.media_type)
    return Response(found.body, headers=headers, media_type=found.media_type)


@lru_cache(maxsize=MAX_FILES)
def _known(file: str) -> _File | None:
    """Return the file of this name. None if it does not exist or is outside the folders."""
    body = _read(file)
    if body is None:
        return None
    suffix = PurePosixPath(file).suffix
    return _File(
        body=body,
        compressed=gzip.compress(body, mtime=0),
        version=hashlib.sha256(body).hexdigest()[:32],
        media_type=TYPES.get(suffix) or mimetypes.guess_type(file)[0] or "text/plain",
    )


def _read(file: str) -> bytes | None:
    if file == SCRIPT:
        return bundle.script(STATIC).encode()
    if file == SHEET:
        return bundle.sheet(STATIC, SHEETS).encode()
    if len(file.encode()) > MAX_NAME_BYTES:
        return None
    parts = PurePosixPath(file).parts
    folder, names = (RUNBOOKS, parts[1:]) if parts[0] == "runbooks" else (STATIC, parts)
    if not names or any(part.startswith((".", "/")) or "\\" in part for part in names):
        return None
    path = folder.joinpath(*names)
    if not path.is_file():
        return None
    return _with_versions(path.read_text("utf-8")) if file == PAGE else path.read_bytes()


def _with_versions(page: str) -> bytes:
    """Return the page with the versions of the script and the style sheet in their addresses."""
    for name in (SCRIPT, SHEET):
        made = _known(name)
        assert made is not None
        page = page.replace(f'"{name}"', f'"{name}?v={made.version}"')
    return page.encode()
