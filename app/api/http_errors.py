"""Errors of a request as HTTP: how it is written, sent and framed, and whom it is for.

They belong to the tree in app/errors.py.
"""

from app.errors import InputError, MemoryServiceError


class HeadInvalid(InputError):
    """What came is not HTTP."""

    code = "http_invalid"
    status = 400
    title = "Not HTTP"


class HeadTooLarge(InputError):
    """The request's line and headers exceed the limit in bytes."""

    code = "head_too_large"
    status = 431
    title = "Head too large"


class HeadTooLate(InputError):
    """The request's line and headers did not come in time."""

    code = "head_too_late"
    status = 408
    title = "Head too late"
    retryable = True


class BodyTooLate(InputError):
    """The request's body did not come in time."""

    code = "body_too_late"
    status = 408
    title = "Body too late"


class MediaUnsupported(InputError):
    """The body is not JSON in UTF-8, or is compressed."""

    code = "unsupported_media_type"
    status = 415
    title = "Unsupported media type"

    def headers(self) -> dict[str, str]:
        """Return what may be sent (RFC 9110, sections 12.5.1 and 12.5.3)."""
        return {"Accept": "application/json", "Accept-Encoding": "identity"}


class HostUnknown(InputError):
    """The request names a host that this service is not."""

    code = "host_unknown"
    status = 421
    title = "Not this service's host"


class CrossSite(InputError):
    """A web page of another site sends the request, and no key is asked for."""

    code = "cross_site"
    status = 403
    title = "Another site's request"


class TooManyConnections(MemoryServiceError):
    """As many connections are open as one process keeps."""

    code = "too_many_connections"
    status = 503
    title = "Too many connections"
    retryable = True


class McpMissing(MemoryServiceError):
    """The service was installed without the Model Context Protocol."""

    code = "mcp_missing"
    status = 501
    title = "MCP is not installed"
