"""Checks that a request is well-formed HTTP meant for this service, before the key is checked.

A service without keys on loopback is open to everything on the machine, including the web pages in
its browsers. Two checks keep those out. `Sec-Fetch-Site` reveals another site's page
(https://www.w3.org/TR/fetch-metadata/). `Host` reveals a page whose own name points to 127.0.0.1
(DNS rebinding).
"""

import ipaddress
from collections.abc import Iterable, Mapping
from urllib.parse import unquote_to_bytes, urlsplit

from starlette.responses import Response
from starlette.types import Scope

from app.api.error_handlers import error_response
from app.api.http_errors import CrossSite, HeadInvalid, HostUnknown
from app.auth.keys import KeyRing
from app.errors import InputError, InvalidInput

SINGLE_HEADERS = (b"host", b"content-length", b"content-type", b"authorization")
"""Headers that two parties may interpret differently if they are repeated (RFC 9112, section
11.2)."""

ANY_HOST = "*"
MAX_KNOWN_HOSTS = 1000

CLOSE = {"Connection": "close"}


class Doorway:
    """Refuses malformed requests and those meant for another host.

    `allowed_hosts` are accepted besides the names of loopback. `is_loopback` says that the service
    listens there, so its own names are known.
    """

    def __init__(self, ring: KeyRing, *, allowed_hosts: Iterable[str], is_loopback: bool) -> None:
        self._ring = ring
        self._allowed = {_hostname(host) or host.lower() for host in allowed_hosts}
        self._is_loopback = is_loopback
        self._known: set[bytes] = set()

    def refusal(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Response | None:
        """Return the answer that refuses this request. None lets it in."""
        if (  # nearly every request, at a tenth of the cost of the checks
            headers.get(b"host") in self._known
            and len(headers) == len(scope["headers"])
            and b"transfer-encoding" not in headers
            and b"sec-fetch-site" not in headers
            and scope["path"].isascii()
            and b"%" not in scope["query_string"]
        ):
            return None
        try:
            self._check(scope, headers)
        except HeadInvalid as error:
            response = error_response(error)
            response.headers.update(CLOSE)
            return response
        except InputError as error:
            return error_response(error)
        return None

    def _check(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        host = headers.get(b"host")
        if host is None or len(headers) != len(scope["headers"]):
            _require_single(scope)
        if b"transfer-encoding" in headers and headers[b"transfer-encoding"].lower() != b"chunked":
            raise HeadInvalid("Transfer-Encoding may only be chunked.")
        _require_utf8("path", scope["raw_path"])
        _require_utf8("query", scope["query_string"])
        if host not in self._known:
            self._require_own(host or b"")
        if b"sec-fetch-site" in headers and not self._ring.is_required:
            _require_own_site(scope, headers)

    def _require_own(self, host: bytes) -> None:
        """Raise HostUnknown if the host is not this service, where hosts are checked."""
        if not self._allowed and (self._ring.is_required or not self._is_loopback):
            return
        name = _hostname(host.decode("latin-1"))
        if ANY_HOST in self._allowed or name in self._allowed or _is_loopback(name):
            if len(self._known) < MAX_KNOWN_HOSTS:
                self._known.add(host)
            return
        raise HostUnknown(
            "The request's Host is not a name of this service: use its address, or add the name to "
            "MEMORY_ALLOWED_HOSTS."
        )


def _require_utf8(part: str, encoded: bytes) -> None:
    """Raise InvalidInput for bytes that are not UTF-8, which would be replaced and name another."""
    try:
        unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{part}: must be UTF-8, percent-encoded.", field=part) from error


def _require_single(scope: Scope) -> None:
    names = [name for name, _ in scope["headers"]]
    for name in SINGLE_HEADERS:
        if names.count(name) > 1:
            raise HeadInvalid(f"The header {name.decode().title()} may be sent only once.")
    if b"host" not in names and scope["http_version"] != "1.0":
        raise HeadInvalid("HTTP/1.1 requires a Host header: send one.")


def _require_own_site(scope: Scope, headers: Mapping[bytes, bytes]) -> None:
    """Raise CrossSite for a request from another site's page. Links to here are allowed."""
    is_link = scope["method"] == "GET" and headers.get(b"sec-fetch-mode") == b"navigate"
    if headers[b"sec-fetch-site"] == b"cross-site" and not is_link:
        raise CrossSite(
            "A web page of another site may not use this service: create a key with "
            "`./memory keys create` and send it."
        )


def _hostname(host: str) -> str | None:
    """Return the host of `name:port` in lower case, without the brackets of IPv6."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _is_loopback(name: str | None) -> bool:
    if name == "localhost":
        return True
    try:
        return name is not None and ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
