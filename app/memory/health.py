"""Each part is asked on its own, and the report names the one that failed."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from app.errors import MemoryServiceError

Probe = Callable[[], Awaitable[Mapping[str, object]]]
"""Asks one part. Returns what is worth knowing of it; raises MemoryServiceError when it failed."""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What each part said."""

    is_ready: bool
    parts: Mapping[str, Mapping[str, object]]

    def as_json(self) -> dict[str, object]:
        """`{status, parts: {NAME: {status, ...}}}`."""
        return {"status": "ok" if self.is_ready else "failed", "parts": self.parts}


class HealthOperations:
    """Asks every part."""

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        self._probes = probes

    async def report(self) -> HealthReport:
        """Ask each part in turn; one that fails does not keep the others from being asked."""
        parts: dict[str, Mapping[str, object]] = {}
        is_ready = True
        for name, probe in self._probes.items():
            try:
                parts[name] = {"status": "ok", **await probe()}
            except MemoryServiceError as error:
                is_ready = False
                parts[name] = {"status": "failed", "code": error.code, "detail": error.detail}
        return HealthReport(is_ready, parts)
