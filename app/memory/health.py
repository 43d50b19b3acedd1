"""Checks each part separately; the report names the parts that failed."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from app.errors import MemoryServiceError, StorageTimeout
from app.nodes.health import Probe, all_probes
from app.nodes.shard import Shards

PROBE_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The state of each part. `status`: ok, degraded (questions are answered), or failed."""

    status: str
    parts: Mapping[str, Mapping[str, object]]

    @property
    def is_ready(self) -> bool:
        """Return whether requests should be sent here."""
        return self.status != "failed"

    def as_json(self) -> dict[str, object]:
        """Return `{status, parts: {NAME: {status, ...}}}`."""
        return {"status": self.status, "parts": self.parts}


class HealthOperations:
    """Checks every part. Questions are answered as long as one node works.

    `others` are the probes of all parts besides the nodes.
    """

    def __init__(self, shards: Shards, others: Mapping[str, Probe]) -> None:
        self._shards = shards
        self._others = others

    async def report(self) -> HealthReport:
        """Check all parts concurrently."""
        nodes = all_probes(self._shards)
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
