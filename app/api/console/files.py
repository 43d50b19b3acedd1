"""The console's files at /console. Everything they show comes from the public API.

They are a few hundred kilobytes, so each is read and compressed once and then kept: a first visit
asks for some fifty of them.
"""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

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
    # The browser revalidates each time (304 if unchanged), so a new release shows at once.
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}

# Systems give these suffixes different types, and browsers run no module of another type.
TYPES = {".js": "text/javascript", ".md": "text/markdown", ".json": "application/json"}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    compressed: bytes
    etag: str
    media_type: str


@router.get("/console/{file:path}")
@router.head("/console/{file:path}")
async def console_file(request: Request, file: str) -> Response:
    """Return one of the console's files, or 304 if the browser has it."""
    found = _known(file)
    if found is None:
        raise HTTPException(NOT_FOUND)
    headers = HEADERS | {"ETag": found.etag}
    if found.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=NOT_MODIFIED, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(found.compressed, headers=headers, media_type=found.media_type)
    return Response(found.body, headers=headers, media_type=found.media_type)


@lru_cache(maxsize=MAX_FILES)
def _known(file: str) -> _File | None:
    """Return the file of this name. None if it does not exist or is outside the folders."""
    if len(file.encode()) > MAX_NAME_BYTES:
        return None
    parts = PurePosixPath(file or "index.html").parts
    folder, names = (RUNBOOKS, parts[1:]) if parts[0] == "runbooks" else (STATIC, parts)
    if not names or any(part.startswith((".", "/")) or "\\" in part for part in names):
        return None
    path = folder.joinpath(*names)
    if not path.is_file():
        return None
    body = path.read_bytes()
    return _File(
        body=body,
        compressed=gzip.compress(body, mtime=0),
        etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        media_type=TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain",
    )
