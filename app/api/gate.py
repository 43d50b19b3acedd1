"""The one place that every request passes, whichever route serves it: who asks, and may that be?"""

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
    """Holds requests against the known keys. `metrics_open`: /metrics asks for none.

    `anonymous` is the caller of every request while no keys are asked for. `require_as_of`: every
    caller must say as of when it asks, whatever its key says.
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
        """Make the key's owner the caller of this request. An answer refuses the request.

        Without a valid key all that is learned is which routes are open.
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
        """Whether the caller's rate or requests at once are limited."""
        limits = caller.get().limits
        return limits.requests_per_s is not None or limits.concurrency is not None

    async def limited(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, headers: Headers
    ) -> None:
        """Serve the caller within its limits. Raises RateLimited, Overloaded.

        `headers` of the answer get what the limit is, and how much of it is left.
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
