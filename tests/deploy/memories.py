"""A few memories in a Redis, as the service would have stored them."""

import numpy as np
from redis import Redis

from app.storage.schema import shared_episodic_schema
from tests.conftest import DIMENSION
from tests.deploy.nodes import command

SCHEMA = shared_episodic_schema(DIMENSION)


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
        client.sadd(SCHEMA.partition, "agent_1")
    pipeline = client.pipeline(transaction=False)
    for number in range(first, first + count):
        pipeline.hset(key(number), mapping={"agent_id": "agent_1", "state_vector": vector(number)})
    pipeline.execute()


def nearest(client: Redis, seed: int) -> str:
    """The key of the memory nearest to `vector(seed)`."""
    words = ("*=>[KNN 1 @state_vector $v AS distance]", "PARAMS", 2, "v", vector(seed), "NOCONTENT")
    reply = command(client, "FT.SEARCH", SCHEMA.name, *words)
    return str(reply[1]) if len(reply) > 1 else ""
