"""Probes of indexes: aliases, building, sizes, and what an agent with one memory costs."""

import asyncio
import time

from app.errors import MemoryServiceError
from app.nodes.engine_options import BLOCK_VECTORS, VECTORS_IN_TOTAL, engine_version, shown
from app.nodes.redis_errors import IndexMissing, OtherAlgorithm
from app.storage.assumptions.answers import knn
from app.storage.assumptions.probe import Observation, Probe, Scratch, random_vectors
from app.storage.index_info import ask_with_infos, parse_info, read_info, unless_exists
from app.storage.schema import IndexSchema

SCANNED = 2000
BUILD_WAIT_S = 20.0
SIZED = 64
SLACK_BYTES = 64 * 1024


class InfoIsRead(Probe):
    """FT.CREATE takes the service's schema, and FT.INFO describes it in the words parsed."""

    name = "index facts"
    assumes = "FT.CREATE takes the service's vectors and fields, FT.INFO gives every figure read"
    otherwise = "it does not start: stores and searches would be answered 500"
    is_vital = True

    async def look(self, place: Scratch) -> Observation:
        """Test it. Raise StorageError."""
        flat = place.schema(stored_as=place.stored_as)
        for schema in (flat, flat.as_("HNSW")):
            await place.create(schema)
            (info,) = await read_info(place.node, [schema.name])
            if differences := schema.differences(info):
                return Observation(False, "; ".join(differences))
        return Observation(True, "FLAT and HNSW indexes are described as they were made")


class AliasMoves(Probe):
    """An alias leads to an index, and after an update to another one."""

    name = "aliases"
    assumes = "FT.ALIASUPDATE moves an alias at once; a dropped index takes its alias along"
    otherwise = "it does not start: a move to HNSW could answer from the wrong index"
    is_vital = True

    async def look(self, place: Scratch) -> Observation:
        """Test it. Raise StorageError."""
        first, second = place.schema("first"), place.schema("second")
        for schema, count in ((first, 1), (second, 2)):
            await place.create(schema)
            await place.store(schema, random_vectors(count))
        found = []
        for index in (first, second):
            verb = "FT.ALIASADD" if index is first else "FT.ALIASUPDATE"
            await place.ask(verb, first.alias, index.name)
            reply = await place.ask("FT.SEARCH", first.alias, "*", "LIMIT", 0, 0)
            found.append(int(reply[0]))
        await place.ask("FT.DROPINDEX", second.name)
        try:
            await place.ask("FT.SEARCH", first.alias, "*", "LIMIT", 0, 0)
        except IndexMissing:
            before, after = found
            said = f"finds {before} of 1, after its update {after} of 2; gone with its index"
            return Observation(found == [1, 2], said)
        return Observation(False, "the alias of a dropped index still answers")


class BuildingIsSaid(Probe):
    """FT.INFO reports an index that is not complete yet."""

    name = "index being built"
    assumes = "FT.INFO calls an index complete only if it holds every hash stored before"
    otherwise = "searches right after a restart could miss memories"

    async def look(self, place: Scratch) -> Observation:
        """Test it. Raise StorageError."""
        schema = place.schema(algorithm="HNSW")
        await place.store(schema, random_vectors(SCANNED))
        began_s = time.monotonic()
        await place.create(schema, scan=True)
        seen_building = 0
        while time.monotonic() < began_s + BUILD_WAIT_S:
            (info,) = await read_info(place.node, [schema.name])
            if info.is_complete:
                took = f"{1000 * (time.monotonic() - began_s):.0f} ms"
                said = f"incomplete {seen_building} times, complete after {took}: "
                said += f"{info.documents} of {SCANNED} memories"
                return Observation(info.documents == SCANNED, said)
            seen_building += 1
            await asyncio.sleep(0.005)
        return Observation(None, f"not complete within {BUILD_WAIT_S:g} s")


class SizesCountOnce(Probe):
    """Whether FT.INFO's total includes the vectors depends on the version alone."""

    name = "sizes"
    assumes = "FT.INFO's total has the vectors in it from version 8.2 on, and not before"
    otherwise = "stats, metrics and the room check of a move to HNSW are off by the vectors' size"

    async def look(self, place: Scratch) -> Observation:
        """Test it. Raise StorageError."""
        schema = place.schema(stored_as=place.stored_as)
        await place.create(schema)
        await place.store(schema, random_vectors(SIZED, place.stored_as.dimension))
        ((reply,), _) = await ask_with_infos(place.node, [schema.name])
        if isinstance(reply, Exception):
            raise reply
        # Parsed as if the total included the vectors, which returns the plain total.
        info = parse_info(reply, VECTORS_IN_TOTAL)
        version = await engine_version(place.node)
        said = f"engine {shown(version)}: vectors {info.vector_bytes:,}, total {info.size_bytes:,}"
        if info.vector_bytes < SLACK_BYTES:
            return Observation(None, f"{said}: vectors too short to tell")
        is_in_total = info.size_bytes >= info.vector_bytes
        return Observation(is_in_total == (version >= VECTORS_IN_TOTAL), f"{said} bytes")


class OneMemoryIsCheap(Probe):
    """An agent with one memory takes the room of one block, and a block is small."""

    name = "empty partition"
    assumes = f"the index of an agent with one memory has room for {BLOCK_VECTORS} vectors at most"
    otherwise = "each agent takes that room: set search-vss-max-resize, or plan the memory for it"

    async def look(self, place: Scratch) -> Observation:
        """Test it. Raise StorageError."""
        schema = place.schema(stored_as=place.stored_as)
        await place.create(schema)
        await place.store(schema, random_vectors(1, place.stored_as.dimension))
        (info,) = await read_info(place.node, [schema.name])
        allowed = BLOCK_VECTORS * place.stored_as.stored_bytes + SLACK_BYTES
        return Observation(
            info.size_bytes <= allowed, f"{info.size_bytes / 1024:,.0f} KB by FT.INFO"
        )


class ErrorTexts(Probe):
    """Errors that the service acts on are recognised by their wording."""

    name = "error texts"
    assumes = "a missing index, a doubled one and an unknown vector name are told apart"
    otherwise = "a lost index is not rebuilt by itself, and its searches are answered 500"

    async def look(self, place: Scratch) -> Observation:
        """Test it. Raise StorageError."""
        flat = place.schema()
        said = {
            "missing index": await _missing_index(place, flat),
            "unknown vector": await _unknown_vector(place, flat),
            "doubled index": await _doubled_index(place, flat),
        }
        wrong = {what: text for what, text in said.items() if text}
        if wrong:
            return Observation(False, "; ".join(f"{what}: {text}" for what, text in wrong.items()))
        return Observation(True, f"{', '.join(said)} are known by their words")


async def _missing_index(place: Scratch, flat: IndexSchema) -> str:
    """Return what is wrong with the error of a search without an index; empty if nothing is."""
    try:
        await knn(place, flat.as_("HNSW"), random_vectors(1).tobytes(), 1)
    except IndexMissing:
        return ""
    except MemoryServiceError as error:
        return str(error.__cause__)
    return "no error"


async def _unknown_vector(place: Scratch, flat: IndexSchema) -> str:
    """Return the same for a search of the FLAT index by the HNSW index's vector."""
    await place.create(flat)
    query = f"*=>[KNN 1 @{flat.as_('HNSW').vector_name} $v AS distance]"
    vector = random_vectors(1).tobytes()
    words = ("SORTBY", "distance", "PARAMS", 2, "v", vector, "DIALECT", 2)
    try:
        await place.ask("FT.SEARCH", flat.name, query, *words)
    except OtherAlgorithm:
        return ""
    except (MemoryServiceError, IndexMissing) as error:
        return str(error.__cause__)
    return "no error"


async def _doubled_index(place: Scratch, flat: IndexSchema) -> str:
    """Return the same for an index that is created twice."""
    created = flat.create_command(scan=False)
    return "" if not await unless_exists(place.node, created) else "no error"


PROBES = (
    InfoIsRead(),
    AliasMoves(),
    BuildingIsSaid(),
    SizesCountOnce(),
    ErrorTexts(),
    OneMemoryIsCheap(),
)
