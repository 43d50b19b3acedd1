"""Authenticates, authorises and rate-limits every request."""

from collections.abc import Mapping
from dataclasses import replace

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.error_handlers import error_response, http_problem
from app.api.permissions import OPEN, methods_of, rule_of
from app.auth.caller import NOBODY, Principal, caller, require_role
from app.auth.keys import KeyRing
from app.auth.limits import ConcurrencyLimit, RateLimiter
from app.errors import InputError, KeyInvalid, KeyMissing

NOT_FOUND, METHOD_NOT_ALLOWED = 404, 405

Headers = list[tuple[bytes, bytes]]


class Gate:
    """Checks requests against the known keys.

    `anonymous` is the caller of every request while the service asks for no keys. With
    `metrics_open`, /metrics needs no key. With `require_as_of`, every caller must send `as_of`,
    whatever its key says.
    """

    def __init__(
        self,
        ring: KeyRing,
        rates: RateLimiter,
        *,
        anonymous: Principal,
        metrics_open: bool,
        require_as_of: bool = False,
    ) -> None:
        self._ring = ring
        self._rates = rates
        self._concurrency = ConcurrencyLimit()
        self._anonymous = anonymous
        self._require_as_of = require_as_of
        self._metrics_open = metrics_open

    def admit(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> Response | None:
        """Make the key's owner the caller of this request. Return an answer if it is refused.

        Without a valid key a caller learns nothing but which routes are open.
        """
        if not self._ring.is_required:
            self._let_in(self._anonymous)
            return None
        rule = rule_of(method, path)
        if rule == OPEN or (rule == "metrics" and self._metrics_open):
            caller.set(NOBODY)
            return None
        try:
            principal = self._authenticated(headers)
            if rule is None:
                return _no_route(path)
            require_role(principal, rule)
        except InputError as error:
            return error_response(error)
        self._let_in(principal)
        return None

    def _let_in(self, principal: Principal) -> None:
        if self._require_as_of and not principal.require_as_of:
            principal = replace(principal, require_as_of=True)
        caller.set(principal)

    @staticmethod
    def limits_caller() -> bool:
        """Return whether the caller's rate or concurrency is limited."""
        limits = caller.get().limits
        return limits.requests_per_s is not None or limits.concurrency is not None

    async def limited(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, headers: Headers
    ) -> None:
        """Serve the caller within its limits. Raise RateLimited or Overloaded.

        Adds the limit, and how much of it is left, to the answer's `headers`.
        """
        asking = caller.get()
        per_s = asking.limits.requests_per_s
        if per_s is not None:
            left = await self._rates.take("key", asking.key_id, per_s)
            headers += (
                (b"ratelimit-policy", b'"key";q=%d;w=1' % per_s),
                (b"ratelimit", b'"key";r=%d;t=1' % left),
            )
        if asking.limits.concurrency is None:
            await app(scope, receive, send)
        else:
            async with self._concurrency.turn(asking.key_id, asking.limits.concurrency):
                await app(scope, receive, send)

    def _authenticated(self, headers: Mapping[bytes, bytes]) -> Principal:
        given = headers.get(b"authorization")
        if given is None:
            raise KeyMissing("Send a key: Authorization: Bearer KEY.")
        principal = self._ring.find(given)
        if principal is None:
            raise KeyInvalid("The key is not valid: ask for a new one.")
        return principal


def _no_route(path: str) -> Response:
    methods = methods_of(path)
    if methods:
        return http_problem(METHOD_NOT_ALLOWED, {"Allow": ", ".join(methods)})
    return http_problem(NOT_FOUND)
