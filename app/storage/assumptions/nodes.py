"""Probes of where the engine answers: on a replica, and within a script."""

import asyncio

from app.errors import MemoryServiceError
from app.nodes.client import Client
from app.nodes.redis_errors import IndexMissing
from app.storage.assumptions.answers import knn
from app.storage.assumptions.probe import Observation, Probe, Scratch, random_vectors
from app.storage.schema import IndexSchema

REPLICA_WAIT_S = 5.0
POLL_S = 0.02


class ReplicaSearches(Probe):
    """A read-only replica answers FT.SEARCH by itself, with the index that its master created."""

    name = "replica"
    assumes = "FT.SEARCH works on a read-only replica, with indexes that came by replication"
    otherwise = "set no replicas: the master answers alone"

    async def look(self, place: Scratch) -> Observation:
        """Test it. Raise StorageError."""
        if not place.replicas:
            return Observation(None, "no replica here")
        schema, vectors = place.schema(), random_vectors(8)
        await place.create(schema)
        await place.store(schema, vectors)
        expected = await knn(place, schema, vectors[3].tobytes(), 8)
        for replica in place.replicas:
            there = Scratch(replica, place.stored_as)
            found = await _until(there, schema, vectors[3].tobytes(), expected)
            if found != expected:
                return Observation(False, f"a replica finds {len(found)} of {len(expected)}")
        return Observation(True, f"{len(place.replicas)} answer as their master does")


async def _until(
    there: Scratch, schema: IndexSchema, vector: bytes, expected: list[tuple[int, float]]
) -> list[tuple[int, float]]:
    """Return what a replica finds, as soon as it equals what its master found."""
    found: list[tuple[int, float]] = []
    for _ in range(round(REPLICA_WAIT_S / POLL_S)):
        try:
            found = await knn(there, schema, vector, len(expected))
        except (IndexMissing, MemoryServiceError):
            found = []
        if found == expected:
            break
        await asyncio.sleep(POLL_S)
    return found


class AnswersWhereAsked(Probe):
    """The node answers by itself. A coordinator, which asks others, cannot within a script."""

    name = "within a script"
    assumes = "the node that is asked answers: no coordinator sends a search to other nodes"
    otherwise = "it does not start: answers are wrong while another node is away"
    is_vital = True

    async def look(self, place: Scratch) -> Observation:
        """Test it. Raise StorageError."""
        schema = place.schema()
        await place.create(schema)
        await place.store(schema, random_vectors(1))
        script = "return redis.call('FT.SEARCH', ARGV[1], '*', 'LIMIT', 0, 0)"
        try:
            reply = await place.ask("EVAL", script, 0, schema.name)
        except MemoryServiceError as error:
            text = str(error.__cause__)
            # Searches in threads of their own (search-workers) may be refused in scripts, too.
            return Observation(False if await _has_cluster(place.node) else None, text)
        return Observation(int(reply[0]) == 1, "FT.SEARCH is answered within EVAL")


async def _has_cluster(node: Client) -> bool:
    info = await node.info("cluster")
    return bool(info.get("cluster_enabled"))


PROBES = (ReplicaSearches(), AnswersWhereAsked())
