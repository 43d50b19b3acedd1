"""The definition of a probe, and the scratch area of Redis that it may use freely."""

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from app.nodes.client import Client
from app.nodes.commands import Words, ask_all, ask_one, slices
from app.nodes.redis_errors import IndexMissing
from app.storage.schema import Algorithm, IndexSchema, episodic_schema
from app.vectors import VectorFormat

KEY_PREFIX = "episodic_probe:"
"""Within the keys that the service's user may touch, and outside every index of the memory."""
INDEX_PREFIX = "episodic_probe_idx:"
DIMENSION = 16
TIMEOUT_MS = 5000


@dataclass(frozen=True, slots=True)
class Observation:
    """What a probe saw, in words. `holds` is None if it could not be tested here."""

    holds: bool | None
    sentence: str


@dataclass(slots=True)
class Scratch:
    """A node, and names on it that nobody else uses. Everything created under them is removed."""

    node: Client
    stored_as: VectorFormat
    """The service's vectors. Probes that do not depend on them use short ones."""
    replicas: Sequence[Client] = ()
    _own: str = field(default_factory=lambda: f"{int(time.time())}:{secrets.token_hex(4)}")
    _keys: set[str] = field(default_factory=set)
    _indexes: list[str] = field(default_factory=list)

    def schema(
        self,
        name: str = "one",
        *,
        algorithm: Algorithm = "FLAT",
        stored_as: VectorFormat | None = None,
    ) -> IndexSchema:
        """Return the schema of one agent's index, under this scratch area's names."""
        stored_as = stored_as or VectorFormat(DIMENSION)
        return replace(
            episodic_schema("probe", stored_as, algorithm),
            alias=f"{INDEX_PREFIX}{self._own}:{name}",
            prefix=f"{KEY_PREFIX}{self._own}:{name}:",
            partition=f"{KEY_PREFIX}{self._own}:{name}",
        )

    async def create(self, schema: IndexSchema, *, scan: bool = False) -> None:
        """Create the index under its own name. Raise StorageError."""
        self._indexes.append(schema.name)
        await ask_one(self.node, *schema.create_command(scan=scan))

    async def store(
        self, schema: IndexSchema, vectors: NDArray[np.float32], **columns: Sequence[str | float]
    ) -> None:
        """Store a hash for each vector, as keys 0, 1, ..., with its number as `seq`.

        `columns` are further fields, with a value for each vector. Raise StorageError.
        """
        commands: list[Words] = []
        for number, vector in enumerate(vectors):
            key = f"{schema.prefix}{number}"
            self._keys.add(key)
            raw = schema.stored_as.encode(vector.tobytes())
            more = [word for name, values in columns.items() for word in (name, values[number])]
            commands.append(("HSET", key, schema.vector_field, raw, "seq", number, *more))
        await ask_all(self.node, commands)

    async def ask(self, *words: str | bytes | int | float) -> Any:
        """Send one command. Raise the service's errors."""
        return await ask_one(self.node, *words)

    async def clear(self) -> None:
        """Remove everything. Raise StorageError."""
        for name in self._indexes:
            await drop(self.node, name)
        unlinked: list[Words] = [("UNLINK", *some) for some in slices(sorted(self._keys), 500)]
        await ask_all(self.node, unlinked)


async def drop(node: Client, index: str) -> None:
    """Drop an index with its hashes, if it exists. Raise StorageError."""
    with suppress(IndexMissing):
        await ask_one(node, "FT.DROPINDEX", index, "DD")


@asynccontextmanager
async def scratch(
    node: Client, stored_as: VectorFormat, replicas: Sequence[Client] = ()
) -> AsyncIterator[Scratch]:
    """Yield a scratch area on this master, and clear it at the end. Raise StorageError."""
    place = Scratch(node, stored_as, replicas)
    try:
        yield place
    finally:
        await place.clear()


class Probe(ABC):
    """One assumption, `assumes`, with what the service does if it is false, `otherwise`.

    `is_vital`: answers could be wrong without it, so the service does not start.
    """

    name: ClassVar[str]
    assumes: ClassVar[str]
    otherwise: ClassVar[str]
    is_vital: ClassVar[bool] = False

    @abstractmethod
    async def look(self, place: Scratch) -> Observation:
        """Test it. Raise StorageError if Redis does not allow the test."""


def random_vectors(count: int, dimension: int = DIMENSION, seed: int = 1) -> NDArray[np.float32]:
    """Return normally distributed vectors (count, dimension), the same for the same seed."""
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype("<f4")


def ids(reply: Sequence[Any], schema: IndexSchema) -> list[int]:
    """Return the hashes' numbers in a reply of FT.SEARCH (RESP2) with NOCONTENT, in order."""
    return [int(key.decode().removeprefix(schema.prefix)) for key in reply[1:]]
