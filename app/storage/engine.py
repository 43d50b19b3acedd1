"""Is this Redis fit to be the memory's database?"""

import redis.exceptions as foreign
from redis.asyncio import Redis

from app.errors import ConfigurationError, QueryEngineMissing, StartError, StorageError
from app.storage.client import execute
from app.storage.engine_options import EngineOptions
from app.storage.redis_errors import translate, translated


async def require_alone(node: Redis) -> None:
    """Check that the node is not in cluster mode. Raises ConfigurationError, StorageError.

    There the query engine of Redis 8 sends each search to every master, and its answers are wrong
    while a node is down or a slot has moved (docs/decisions).
    """
    _require_first_database(node)
    with translated():
        info = await node.info("cluster")
    if info.get("cluster_enabled"):
        raise ConfigurationError(
            "This Redis runs in cluster mode, where a search can miss memories or find them twice "
            "while a node is down or after a slot has moved: set cluster-enabled to no, and use a "
            "master with replicas and Sentinels."
        )


async def require_engine(node: Redis, options: EngineOptions) -> None:
    """Check that the node has the query engine, and set the engine's settings.

    Raises StartError.
    """
    _require_first_database(node)
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


def _require_first_database(node: Redis) -> None:
    database = int(node.connection_pool.connection_kwargs.get("db") or 0)
    if database != 0:
        raise ConfigurationError(
            f"Redis database {database} cannot be used, for the query engine sees database 0 only: "
            "leave the number out of MEMORY_REDIS_URL and MEMORY_REPLICA_URLS."
        )


def _cannot_start(error: Exception) -> StartError:
    detail = error.detail if isinstance(error, StorageError) else str(error)
    return StartError(f"Redis cannot be used: {detail}")
