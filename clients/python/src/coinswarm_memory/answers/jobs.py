"""Work that a caller asked for and waits for."""

from typing import Any, Literal

import msgspec


class AskedJob(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is: `done` of `total` steps. `total` is 0 while it is not known."""

    id: str
    agent_id: str
    status: Literal["queued", "running", "done", "failed", "cancelled"]
    done: int
    total: int
    created_at: float
    request: dict[str, Any] = {}
    problem: dict[str, Any] | None = None

    @property
    def is_finished(self) -> bool:
        """Whether it is neither queued nor running."""
        return self.status not in {"queued", "running"}
