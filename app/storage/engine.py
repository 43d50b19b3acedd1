"""Is this Redis fit to be the memory's database?"""

import logging

import redis.exceptions as foreign
from redis.asyncio import Redis

from app.errors import ConfigurationError, QueryEngineMissing, StartError, StorageError
from app.storage.client import execute
from app.storage.redis_errors import translate, translated

logger = logging.getLogger(__name__)

# Redis 8 has the engine's settings among its own; before, the module had a command for them.
_FAIL_ON_TIMEOUT = (
    ("CONFIG", "SET", "search-on-timeout", "fail"),
    ("FT.CONFIG", "SET", "ON_TIMEOUT", "FAIL"),
)


async def require_alone(node: Redis) -> None:
    """Check that the node is in no cluster, where it would refuse most of what it is asked.

    Raises ConfigurationError, StorageError.
    """
    with translated():
        info = await node.info("cluster")
    if info.get("cluster_enabled"):
        raise ConfigurationError(
            "This Redis is a node of a Redis Cluster: set MEMORY_CLUSTER_URLS to the addresses of "
            "some of its nodes, and leave MEMORY_REDIS_URL, MEMORY_REPLICA_URLS and "
            "MEMORY_SENTINEL_URLS out."
        )


async def require_engine(node: Redis) -> None:
    """Check that the node has the query engine and make a search that runs out of time an error.

    The engine's own default answers such a search with the part found so far, as if it were whole.
    Raises StartError.
    """
    database = int(node.connection_pool.connection_kwargs.get("db") or 0)
    if database != 0:
        raise ConfigurationError(
            f"Redis database {database} cannot be used, for the query engine sees database 0 only: "
            "leave the number out of MEMORY_REDIS_URL and MEMORY_REPLICA_URLS."
        )
    try:
        await execute(node, "FT._LIST")
    except foreign.ResponseError as error:
        if "unknown command" not in str(error).lower():
            raise _cannot_start(translate(error)) from error
        raise QueryEngineMissing(
            "This Redis has no query engine (FT.SEARCH is unknown): use the image redis:8, or load "
            "redisearch.so."
        ) from error
    except foreign.RedisError as error:
        raise _cannot_start(translate(error)) from error
    await fail_on_timeout(node)


async def fail_on_timeout(node: Redis) -> None:
    """Make a search that runs out of time an error on this node.

    The setting neither replicates nor outlives a restart unless redis.conf has it, so each node
    gets it whenever it comes up. Raises StartError, RedisError.
    """
    for command in _FAIL_ON_TIMEOUT:
        try:
            await execute(node, *command)
        except foreign.ResponseError as error:
            refused = error
        else:
            return
    raise StartError(
        "This Redis does not let the service set search-on-timeout to fail, so a slow search could "
        "look whole: set it in redis.conf, or allow CONFIG SET."
    ) from refused


def _cannot_start(error: Exception) -> StartError:
    detail = error.detail if isinstance(error, StorageError) else str(error)
    return StartError(f"Redis cannot be used: {detail}")
