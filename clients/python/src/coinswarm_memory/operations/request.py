"""A request, its reply, and the operation that knows both."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from coinswarm_memory.errors import UnexpectedReply

T = TypeVar("T")
U = TypeVar("U")

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request below the service's address."""

    method: str
    path: str
    body: bytes | None = None
    content_type: str = JSON
    accept: str = JSON
    durability: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the service did what it was asked for."""
        return 200 <= self.status < 300

    @property
    def is_arrow(self) -> bool:
        """Whether the body is a stream of Arrow record batches."""
        return self.headers.get("content-type", "").startswith(ARROW)


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """A request and how its reply is read.

    `repeatable`: carrying it out twice has the effect of once, so a lost reply does no harm.
    `gone_is_done`: a repeat that finds nothing was carried out the first time. `answered_by`: error
    statuses whose reply is an answer nevertheless.
    """

    request: Request
    read: Callable[[Reply], T]
    repeatable: bool = True
    gone_is_done: bool = False
    answered_by: frozenset[int] = frozenset()

    def parse(self, reply: Reply) -> T:
        """Return the answer in a reply. Raises UnexpectedReply."""
        try:
            return self.read(reply)
        except msgspec.MsgspecError as error:
            raise UnexpectedReply(
                f"The answer to {self.request.method} {self.request.path} cannot be read "
                f"({error}): do the client and the service differ in version?"
            ) from error


def post(path: str, body: Mapping[str, Any], **rest: Any) -> Request:
    """Return a request with a JSON body."""
    return Request("POST", path, msgspec.json.encode(body), **rest)


def reading(kind: type[U]) -> Callable[[Reply], U]:
    """Return a reader of JSON bodies of this type."""
    decoder = msgspec.json.Decoder(kind)
    return lambda reply: decoder.decode(reply.body)


def escaped(name: str) -> str:
    """Return a name as one segment of a path."""
    return quote(name, safe="")
