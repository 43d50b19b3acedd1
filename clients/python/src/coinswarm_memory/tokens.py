"""The latest write of each agent, so that a client reads what it wrote itself."""

import threading

CONCEPTS = "\0concepts"
"""The owner of what the whole swarm knows; no agent can have this name."""


class Tokens:
    """Keeps the latest token of each owner. Safe for several threads.

    A token is a history and a position in it, `history:position`.
    """

    def __init__(self) -> None:
        self._latest: dict[str, str] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        """Begin a copy of a client without tokens: it has written nothing itself."""
        return Tokens, ()

    def of(self, owner: str) -> str | None:
        """Return the latest token. Returns None while this client has written nothing."""
        return self._latest.get(owner)

    def note(self, owner: str, token: str | None) -> None:
        """Keep the token of a write, unless a later one of the same history is kept."""
        if token is None:
            return
        with self._lock:
            kept = self._latest.get(owner)
            if kept is None or not _is_earlier(token, kept):
                self._latest[owner] = token

    def forget(self, owner: str, token: str) -> None:
        """Drop a token whose history has ended."""
        with self._lock:
            if self._latest.get(owner) == token:
                del self._latest[owner]


def _is_earlier(token: str, kept: str) -> bool:
    history, _, position = token.rpartition(":")
    kept_history, _, kept_position = kept.rpartition(":")
    same = history == kept_history and position.isdigit() and kept_position.isdigit()
    return same and int(position) < int(kept_position)
