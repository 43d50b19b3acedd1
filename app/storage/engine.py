"""Is this Redis fit to be the memory's database?"""

import redis.exceptions as foreign
from redis.asyncio import Redis

from app.errors import ConfigurationError, QueryEngineMissing, StartError, StorageError
from app.storage.client import execute
from app.storage.engine_options import EngineOptions
from app.storage.redis_errors import translate, translated


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


async def require_engine(node: Redis, options: EngineOptions) -> None:
    """Check that the node has the query engine, and set the engine's settings.

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
    await options.set_on(node)


def _cannot_start(error: Exception) -> StartError:
    detail = error.detail if isinstance(error, StorageError) else str(error)
    return StartError(f"Redis cannot be used: {detail}")
