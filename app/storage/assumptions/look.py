"""Runs probes: all of them for `check --engine`, the cheap and vital ones when a service starts."""

import logging
import time
from collections.abc import Iterable, Sequence

from app.errors import StartError, StorageError, StorageFailed
from app.nodes.client import Client
from app.nodes.redis_errors import IndexMissing, OtherAlgorithm, is_forbidden, translated
from app.storage.assumptions import answers, indexes, limits, nodes
from app.storage.assumptions.probe import INDEX_PREFIX, Observation, Probe, drop, scratch
from app.storage.checks import Finding
from app.storage.index_info import index_names
from app.vectors import VectorFormat

logger = logging.getLogger(__name__)

PROBES: tuple[Probe, ...] = (*answers.PROBES, *limits.PROBES, *indexes.PROBES, *nodes.PROBES)
"""All probes, in the order in which they are shown."""

AT_START = tuple(p for p in PROBES if p.is_vital and not isinstance(p, limits.TimeoutIsAnError))
"""The probes that a starting service runs: the vital ones that store fewer than a hundred small
hashes. It has just set search-on-timeout itself, so it does not test that.
"""

LEFT_OVER_AFTER_S = 600

_right: set[str] = set()
"""Run ids of the Redis processes that passed in this process. A Redis process's engine does not
change, and a second test would add 50 ms to a start."""


async def look_at_engine(
    node: Client,
    stored_as: VectorFormat,
    replicas: Sequence[Client] = (),
    probes: Iterable[Probe] = PROBES,
) -> list[Finding]:
    """Test each assumption on this master. Return one finding for each. Raise StorageError."""
    await clear_leftovers(node)
    findings = []
    for probe in probes:
        seen = await _observe(probe, node, stored_as, replicas)
        if seen.holds is None:
            findings.append(Finding("note", "engine", f"{probe.name}: not tried: {seen.sentence}"))
        elif seen.holds:
            findings.append(Finding("ok", "engine", f"{probe.name}: {seen.sentence}"))
        else:
            findings.append(Finding("problem", "engine", _fault(probe, seen)))
    return findings


async def require_assumptions(
    node: Client, stored_as: VectorFormat, probes: Iterable[Probe] = AT_START
) -> None:
    """Refuse an engine on which the service's answers could be wrong.

    A Redis that takes no writes now (full, without replicas, a full disk) is not refused; what
    could not be tested is logged. Raise StartError or StorageError.
    """
    with translated():
        run_id = str((await node.info("server"))["run_id"])
    if probes is AT_START and run_id in _right:
        return
    is_tried = probes is AT_START
    for probe in probes:
        seen = await _observe(probe, node, stored_as, ())
        if seen.holds is None:
            is_tried = False
            logger.warning(
                "engine not tried", extra={"assumption": probe.name, "reason": seen.sentence}
            )
        elif not seen.holds:
            raise StartError(f"This Redis cannot be used. {_fault(probe, seen)}")
    if is_tried:
        _right.add(run_id)


def _fault(probe: Probe, seen: Observation) -> str:
    return (
        f"{probe.name}: {seen.sentence}. Assumed: {probe.assumes}. What the service does: "
        f"{probe.otherwise}."
    )


async def _observe(
    probe: Probe, node: Client, stored_as: VectorFormat, replicas: Sequence[Client]
) -> Observation:
    """Return what the probe saw. An engine that refuses the service's commands does not pass."""
    try:
        async with scratch(node, stored_as, replicas) as place:
            return await probe.look(place)
    except StorageFailed as error:
        return Observation(None if is_forbidden(error) else False, f"refused: {error.__cause__}")
    except (IndexMissing, OtherAlgorithm) as error:
        return Observation(False, f"refused: {error}")
    except KeyError as error:
        return Observation(False, f"a reply lacks {error}")
    except StorageError as error:
        return Observation(None, error.detail)


async def clear_leftovers(node: Client) -> None:
    """Drop what interrupted probes left behind. Raise StorageError."""
    for name in await index_names(node):
        if name.startswith(INDEX_PREFIX):
            made_at_s = int(name.removeprefix(INDEX_PREFIX).partition(":")[0])
            if time.time() - made_at_s > LEFT_OVER_AFTER_S:
                await drop(node, name)
