"""A search as a plain HTTP request, for callers that use no client library."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection

import numpy as np
from numpy.typing import NDArray

HOST = "127.0.0.1"

_HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class HttpSearch:
    """How a server on loopback is asked: `body` makes the JSON to POST, `rows` reads the answer."""

    port: int
    path: str
    body: Callable[[NDArray[np.float32], int], bytes]
    rows: Callable[[bytes], Sequence[int]]


class HttpSearchClient:
    """One caller's connection, which is kept."""

    def __init__(self, how: HttpSearch) -> None:
        self._how = how
        self._http = HTTPConnection(HOST, how.port, timeout=30)

    def search(self, vector: NDArray[np.float32], agent: int) -> Sequence[int]:
        """Return the rows found. Raises ConnectionError for any status but 200."""
        self._http.request("POST", self._how.path, self._how.body(vector, agent), _HEADERS)
        answer = self._http.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise ConnectionError(f"status {answer.status}: {content[:200]!r}")
        return self._how.rows(content)
