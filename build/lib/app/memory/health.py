"""Each part is asked on its own, and the report names the one that failed."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from app.errors import MemoryServiceError, StorageTimeout

PROBE_TIMEOUT_S = 1.0

Probe = Callable[[], Awaitable[Mapping[str, object]]]
"""Asks one part. Returns what is worth knowing of it, `status` too when it is not simply `ok`;
raises MemoryServiceError when it failed."""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What each part said. `status`: ok; degraded: some part fails but questions are answered;
    failed: they are not."""

    status: str
    parts: Mapping[str, Mapping[str, object]]

    @property
    def is_ready(self) -> bool:
        """Whether requests should be sent here."""
        return self.status != "failed"

    def as_json(self) -> dict[str, object]:
        """`{status, parts: {NAME: {status, ...}}}`."""
        return {"status": self.status, "parts": self.parts}


class HealthOperations:
    """Asks every part. Questions are answered as long as one of the nodes does not fail.

    `nodes` gives the nodes that there are now, `others` are the parts besides.
    """

    def __init__(
        self, nodes: Callable[[], Mapping[str, Probe]], others: Mapping[str, Probe]
    ) -> None:
        self._nodes = nodes
        self._others = others

    async def report(self) -> HealthReport:
        """Ask all parts at the same time."""
        nodes = self._nodes()
        probes = {**nodes, **self._others}
        said = await asyncio.gather(*(_ask(probe) for probe in probes.values()))
        parts = dict(zip(probes, said, strict=True))
        failed = {name for name, part in parts.items() if part["status"] == "failed"}
        if nodes.keys() <= failed:
            return HealthReport("failed", parts)
        is_whole = all(part["status"] == "ok" for part in parts.values())
        return HealthReport("ok" if is_whole else "degraded", parts)


async def _ask(probe: Probe) -> Mapping[str, object]:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            return {"status": "ok", **await probe()}
    except TimeoutError:
        error: MemoryServiceError = StorageTimeout("The part did not answer in time.")
    except MemoryServiceError as known:
        error = known
    return {"status": "failed", "code": error.code, "detail": error.detail}
