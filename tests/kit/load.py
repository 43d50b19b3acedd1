"""Callers that ask without a pause, and know of each request what became of it."""

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 60.0


@dataclass
class Callers:
    """`count` callers on keep-alive connections. Times are of the monotonic clock."""

    url: str
    body: dict[str, Any]
    count: int
    path: str = "/v1/episodic/search"
    statuses: list[int] = field(default_factory=list)
    lost_at: list[float] = field(default_factory=list)
    """When those requests were sent that got no answer."""
    closed: int = 0
    """Answers that said `Connection: close`."""
    stop: threading.Event = field(default_factory=threading.Event)
    sent: threading.Event = field(default_factory=threading.Event)
    """Set once a caller has sent a request."""

    def __post_init__(self) -> None:
        self._threads = [threading.Thread(target=self._ask) for _ in range(self.count)]
        self._address = urlsplit(self.url).netloc
        self._content = json.dumps(self.body).encode()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def until_answered(self, count: int) -> None:
        """Wait until so many requests were answered."""
        give_up_at = time.monotonic() + TIMEOUT_S
        while len(self.statuses) < count:
            assert time.monotonic() < give_up_at, f"{len(self.statuses)} answers"
            time.sleep(0.01)

    def until_sent(self) -> None:
        """Wait until a request was sent."""
        assert self.sent.wait(TIMEOUT_S)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(TIMEOUT_S)
            assert not thread.is_alive(), "a caller waits for ever"

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_S)
        while not self.stop.is_set():
            if connection.sock is None:
                try:
                    connection.connect()
                except ConnectionError:
                    return  # nobody listens any more: nothing was sent
            sent_at = time.monotonic()
            try:
                connection.request("POST", self.path, self._content)
                self.sent.set()
                answer = connection.getresponse()
                answer.read()
            except (ConnectionError, http.client.HTTPException):
                self.lost_at.append(sent_at)
                connection.close()
                continue
            self.statuses.append(answer.status)
            self.closed += answer.getheader("connection") == "close"
        connection.close()
