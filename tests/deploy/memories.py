"""A few memories in a Redis, as the service would have stored them."""

import json

import numpy as np
from redis import Redis

from app.keys import episodic_partition
from app.storage.query_syntax import stored_tag
from app.storage.schema import shared_episodic_schema
from app.vectors import VectorFormat
from tests.conftest import DIMENSION
from tests.deploy.nodes import command

SCHEMA = shared_episodic_schema(VectorFormat(DIMENSION))
FieldValue = bytes | bytearray | memoryview | str | int | float
FIRST_TIMESTAMP = 1_600_000_000


def vector(seed: int) -> bytes:
    """A random vector, the same for the same seed."""
    return np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32).tobytes()


def key(number: int) -> str:
    """The key of one of them."""
    return f"episodic:{{agent_1}}:{number}"


def store(client: Redis, count: int, *, first: int = 0) -> None:
    """Create the index if need be and store memories `first` to `first + count - 1`."""
    if not client.exists(SCHEMA.partition):
        command(client, *SCHEMA.create_command(scan=True))
        command(client, "FT.ALIASADD", SCHEMA.alias, SCHEMA.name)
        client.sadd(SCHEMA.partition, "agent_1")
    pipeline = client.pipeline(transaction=False)
    for number in range(first, first + count):
        pipeline.hset(key(number), mapping=_memory(number))
    pipeline.hset(episodic_partition("agent_1"), "seq", str(first + count))
    pipeline.execute()


def _memory(number: int) -> dict[FieldValue, FieldValue]:
    shown: dict[str, object] = {
        "id": str(number),
        "agent_id": "agent_1",
        "product_id": "BTC-USD",
        "regime": "bull",
        "action": None,
        "reward": 0.01,
        "timestamp": float(FIRST_TIMESTAMP + number),
        "outcome_at": None,
        "terminal": False,
        "metadata": {},
    }
    return {
        "record": json.dumps(shown),
        "agent_id": stored_tag("agent_1"),
        "product_id": stored_tag("BTC-USD"),
        "regime": stored_tag("bull"),
        "reward": "0.01",
        "timestamp": str(shown["timestamp"]),
        "seq": number + 1,
        "state_vector": vector(number),
    }


def nearest(client: Redis, seed: int) -> str:
    """The key of the memory nearest to `vector(seed)`."""
    words = ("*=>[KNN 1 @state_vector $v AS distance]", "PARAMS", 2, "v", vector(seed), "NOCONTENT")
    reply = command(client, "FT.SEARCH", SCHEMA.name, *words)
    return str(reply[1]) if len(reply) > 1 else ""
