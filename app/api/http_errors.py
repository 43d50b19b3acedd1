"""Errors about a request as HTTP: its framing, size, timing, media type and target.

They belong to the tree in app/errors.py.
"""

from app.errors import InputError, MemoryServiceError


class HeadInvalid(InputError, code="http_invalid", status=400, title="Not HTTP"):
    """The data received is not HTTP."""


class HeadTooLarge(InputError, code="head_too_large", status=431, title="Head too large"):
    """The request's line and headers exceed the size limit."""


class HeadTooLate(
    InputError, code="head_too_late", status=408, title="Head too late", retryable=True
):
    """The request's line and headers did not arrive in time."""


class BodyTooLate(InputError, code="body_too_late", status=408, title="Body too late"):
    """The request's body did not arrive in time."""


class MediaUnsupported(
    InputError, code="unsupported_media_type", status=415, title="Unsupported media type"
):
    """The body is not JSON in UTF-8, or is compressed."""

    def headers(self) -> dict[str, str]:
        """Return what the service accepts (RFC 9110, sections 12.5.1 and 12.5.3)."""
        return {"Accept": "application/json", "Accept-Encoding": "identity"}


class HostUnknown(InputError, code="host_unknown", status=421, title="Not this service's host"):
    """The Host header names a host that is not this service."""


class CrossSite(InputError, code="cross_site", status=403, title="Another site's request"):
    """A web page of another site sent the request, and the service asks for no keys."""


class TooManyConnections(
    MemoryServiceError,
    code="too_many_connections",
    status=503,
    title="Too many connections",
    retryable=True,
):
    """The process already has as many connections open as it may."""


class McpMissing(MemoryServiceError, code="mcp_missing", status=501, title="MCP is not installed"):
    """The service was installed without the Model Context Protocol."""
