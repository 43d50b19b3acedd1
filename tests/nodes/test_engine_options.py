"""The engine's settings reach a node, whatever it knows of them and whoever sets them."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from app.embedded import EmbeddedNode
from app.errors import StartError
from app.nodes.client import execute
from app.nodes.engine_options import (
    ON_OOM,
    ON_TIMEOUT,
    WORKERS,
    EngineOption,
    EngineOptions,
    set_option,
    value_on,
)
from app.storage.schema import episodic_schema, semantic_schema
from app.vectors import VectorFormat

OPTIONS = EngineOptions(VectorFormat(256))
(BLOCK,) = (option for option in OPTIONS if option not in {ON_TIMEOUT, ON_OOM, WORKERS})
KNOWN = EngineOption("slowlog-max-len", "7", "the night is forgotten", is_vital=True)
"""A setting that every Redis has, in the place of those that only some engines have."""


@pytest.fixture
async def reader(redis: Redis, redis_node: EmbeddedNode) -> AsyncIterator[Redis]:
    """A user who may read the settings and set none."""
    await execute(
        *(redis, "ACL", "SETUSER", "reader", "on", "nopass", "~*", "+@all"),
        *("-config|set", "-ft.config"),
    )
    async with Redis.from_url(f"{redis_node.url}?username=reader&password=x", protocol=2) as client:
        yield client
    await execute(redis, "ACL", "DELUSER", "reader")


async def test_each_setting_that_the_engine_knows_has_its_value(redis: Redis) -> None:
    await OPTIONS.set_on(redis)
    assert await value_on(redis, ON_TIMEOUT) == "fail"
    for option in OPTIONS:
        assert await value_on(redis, option) in {option.value, None}


def test_a_block_has_room_for_sixty_six_vectors() -> None:
    assert BLOCK.value == str(66 * 256 * 4)
    (half,) = (o for o in EngineOptions(VectorFormat(768, "float16")) if o.name == BLOCK.name)
    assert half.value == str(66 * 768 * 2)


async def test_a_setting_that_the_engine_does_not_know_is_no_error(redis: Redis) -> None:
    unknown = EngineOption("search-no-such", "1", "nothing happens", is_vital=True)
    await set_option(redis, unknown)
    assert await value_on(redis, unknown) is None


async def test_a_refused_setting_counts_by_its_value(redis: Redis, reader: Redis) -> None:
    before = str((await redis.config_get(KNOWN.name))[KNOWN.name])
    try:
        with pytest.raises(StartError, match="slowlog-max-len to 7, so the night is forgotten"):
            await set_option(reader, KNOWN)
        await set_option(reader, replace(KNOWN, is_vital=False))  # a warning
        await set_option(reader, replace(KNOWN, name="search-no-such"))
        await set_option(redis, KNOWN)
        await set_option(reader, KNOWN)
    finally:
        await redis.config_set(KNOWN.name, before)


async def test_a_block_takes_every_index_of_its_vectors(redis: Redis) -> None:
    """The engine refuses FT.CREATE where the first block of 64 vectors has no room."""
    option = replace(BLOCK, module_name="VSS_MAX_RESIZE")
    before = await value_on(redis, option)
    assert before is not None
    try:
        for stored_as in (
            *(VectorFormat(dimension) for dimension in (1, 8, 256, 1536, 4096)),
            *(VectorFormat(dimension, "float16") for dimension in (1, 256)),
        ):
            (own,) = (o for o in EngineOptions(stored_as) if o.name == BLOCK.name)
            await set_option(redis, replace(option, value=own.value, is_vital=True))
            assert await value_on(redis, option) == own.value
            flat = episodic_schema("a", stored_as)
            for schema in (flat, flat.as_("HNSW"), semantic_schema(stored_as)):
                await execute(redis, *schema.create_command(scan=False))
                await execute(redis, "FT.DROPINDEX", schema.name)
    finally:
        await set_option(redis, replace(option, value=before))
