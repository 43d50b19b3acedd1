"""Names in paths. An encoded slash (%2F) belongs to the name and does not end it."""

from typing import Annotated
from urllib.parse import unquote

from fastapi import Path
from pydantic import BeforeValidator

from app.fields import AgentId, Tag

# A control character stands for the slash until the route is found; no name may hold one.
_SLASH = "\x01"


def routed_path(raw_path: bytes) -> str:
    """The path to route by: decoded, with encoded slashes kept apart from real ones."""
    # A control character that was sent as such stays one, and is refused.
    kept = raw_path.replace(b"%01", b"%02").replace(b"%2F", b"%01").replace(b"%2f", b"%01")
    return unquote(kept.decode("latin-1"))


def _restore_slash(value: object) -> object:
    return value.replace(_SLASH, "/") if isinstance(value, str) else value


PathAgent = Annotated[AgentId, BeforeValidator(_restore_slash), Path(alias="agent_id")]
PathId = Annotated[Tag, BeforeValidator(_restore_slash), Path(alias="id")]
