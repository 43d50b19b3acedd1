"""Errors that the client raises by itself, and the base of those that the service answers.

CoinswarmError
├── ServiceProblem        the service answered with a problem: one class for each code (problems.py)
├── ServiceUnreachable    no connection, or it broke before the reply
├── CallTimedOut          the call's time is over
├── UnexpectedReply       the reply is not what this version of the client reads
├── InvalidConnection     the address is not one of HTTP, or the key cannot be sent
├── InvalidVector         a state has a wrong shape, type or number; nothing was sent
├── InvalidTime           a time is ambiguous or out of range; nothing was sent
├── InvalidNumber         a number is NaN or infinite; nothing was sent
├── InvalidRows           rows to store cannot be read; nothing was sent
├── InvalidBars           prices cannot be turned into states
├── LookAhead             a question would see later than its view
├── ReadOnlyView          a view of the past cannot be written to
├── ReplicaBehind         a replica may lack more than is allowed
├── InvalidReplicaFile    a file is not a replica of this agent
├── ItemsRefused          a writer's rows that the service refused
└── PackageMissing        an optional package is not installed
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol


class CoinswarmError(Exception):
    """Base of all errors of this package."""


class ServiceProblem(CoinswarmError):
    """The service's answer to a request that it did not carry out (RFC 9457).

    `str(error)` is the service's sentence. `field` names the wrong field, `request_id` finds the
    request in the service's log, `retry_after_s` is the pause that the service asks for.
    """

    code: ClassVar[str] = ""

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        title: str = "",
        retryable: bool = False,
        field: str | None = None,
        errors: Sequence[Mapping[str, str]] = (),
        request_id: str | None = None,
        retry_after_s: float | None = None,
        id: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.title = title
        self.retryable = retryable
        self.field = field
        self.errors = errors
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.id = id


class UnknownProblem(ServiceProblem):
    """A problem that this version of the client does not know. `unknown_code` is its code."""

    def __init__(self, detail: str, *, status: int, unknown_code: str, **rest: object) -> None:
        super().__init__(detail, status=status, **rest)  # type: ignore[arg-type]
        self.unknown_code = unknown_code


class ServiceUnreachable(CoinswarmError):
    """The service cannot be reached, or the connection broke before the reply.

    `was_sent` tells whether the request may have been carried out.
    """

    def __init__(self, detail: str, *, was_sent: bool) -> None:
        super().__init__(detail)
        self.was_sent = was_sent


class CallTimedOut(CoinswarmError, TimeoutError):
    """No reply within the call's time. A write may have happened: repeat it with the same id."""


class UnexpectedReply(CoinswarmError):
    """The reply cannot be read: the service and the client differ in version."""


class InvalidConnection(CoinswarmError, ValueError):
    """The service's address is not one of HTTP, or the key cannot be sent in a header."""


class InvalidVector(CoinswarmError, ValueError):
    """A state cannot be compared. The message names the position."""


class InvalidTime(CoinswarmError, ValueError):
    """A time cannot be understood, or could mean two moments."""


class InvalidNumber(CoinswarmError, ValueError):
    """A number is NaN or infinite, which JSON lacks. Nothing was sent."""


class InvalidRows(CoinswarmError, ValueError):
    """The rows to store have wrong columns, lengths or types."""


class WriterOfAnotherProcess(CoinswarmError):
    """A writer was forked while it was open. What it held is stored by the process that opened it:
    open another one here.
    """


class InvalidBars(CoinswarmError, ValueError):
    """The prices are not bars that states can be made of."""


class LookAhead(CoinswarmError, ValueError):
    """A question asks for a later moment than the view it is asked of."""


class ReadOnlyView(CoinswarmError):
    """`memory.at(...)` is for questions: store through the memory itself."""


class ReplicaBehind(CoinswarmError):
    """A replica may lack changes that are older than its `max_lag_s`, or is still being filled."""


class InvalidReplicaFile(CoinswarmError, ValueError):
    """A file is not a replica of this agent's memory. Without it, the replica starts over."""


class PackageMissing(CoinswarmError, ImportError):
    """An optional package is not installed. The message names the extra that brings it."""


class _Named(Protocol):
    @property
    def index(self) -> int: ...
    @property
    def detail(self) -> str: ...


class ItemsRefused(CoinswarmError):
    """Some rows of a writer were refused. `refused` names each of them; the others are stored."""

    def __init__(self, refused: Sequence[_Named]) -> None:
        first = refused[0]
        super().__init__(
            f"{len(refused)} rows were refused, first row {first.index}: {first.detail}"
        )
        self.refused = refused
