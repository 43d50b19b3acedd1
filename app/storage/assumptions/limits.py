"""Probes of searches that have too little time or memory."""

from app.errors import SearchTimeout, StorageError
from app.nodes.engine_options import (
    ON_OOM,
    ON_TIMEOUT,
    EngineOption,
    engine_version,
    shown,
    value_on,
)
from app.nodes.redis_errors import refusal_of, translated
from app.storage.assumptions.probe import Observation, Probe, Scratch, random_vectors

ROWS = 4000
OOM_SINCE = 80_400
"""From this version on a search may refuse to run, or return nothing, in a full Redis."""


async def _value(place: Scratch, option: EngineOption) -> str | None:
    try:
        with translated():
            return await value_on(place.node, option)
    except StorageError as error:
        if refusal_of(error) is None:
            raise
        return None


class TimeoutIsAnError(Probe):
    """A search that runs out of time reports an error."""

    name = "timeout"
    assumes = "a search out of time is an error, never the part found so far"
    otherwise = "it does not start unless it can set search-on-timeout to fail"
    is_vital = True

    async def look(self, place: Scratch) -> Observation:
        """Test it. Raise StorageError."""
        setting = f"search-on-timeout is {await _value(place, ON_TIMEOUT) or 'not readable'}"
        schema = place.schema()
        await place.create(schema)
        await place.store(schema, random_vectors(ROWS), record=["x" * 200] * ROWS)
        try:
            reply = await place.ask(
                *("FT.AGGREGATE", schema.name, "*", "LOAD", 1, "@record"),
                *("APPLY", "upper(@record)", "AS", "a", "APPLY", "lower(@a)", "AS", "b"),
                *("GROUPBY", 1, "@b", "REDUCE", "COUNT", 0, "AS", "count"),
                *("DIALECT", 2, "TIMEOUT", 1),
            )
        except SearchTimeout as error:
            return Observation(True, f"{setting}; within 1 ms: {error.__cause__}")
        counted = sum(int(row[row.index(b"count") + 1]) for row in reply[1:])
        if counted == ROWS:
            return Observation(None, f"{setting}; no search was slow enough to be cut off")
        return Observation(False, f"{setting}; within 1 ms {counted} of {ROWS} rows, no error")


class FullMemory(Probe):
    """A full Redis keeps searching, or reports that it does not.

    The setting is read; no memory is filled, because that would stop everybody's writes.
    """

    name = "full memory"
    assumes = "at the memory limit a search is answered whole, or is an error (507)"
    otherwise = "it does not start unless it can set search-on-oom to ignore"
    is_vital = True

    async def look(self, place: Scratch) -> Observation:
        """Test it. Raise StorageError."""
        value, version = await _value(place, ON_OOM), await engine_version(place.node)
        if value is not None:
            return Observation(value != "return", f"search-on-oom is {value}")
        if version >= OOM_SINCE:
            return Observation(False, "search-on-oom cannot be read, and may be `return`")
        return Observation(
            True, f"engine {shown(version)} has no search-on-oom: it searches on in a full Redis"
        )


PROBES = (TimeoutIsAnError(), FullMemory())
