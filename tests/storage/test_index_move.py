"""A partition's index moves between FLAT and HNSW: searches are served and true throughout."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import httpx
import numpy as np
import pytest
from redis.asyncio import Redis

from app.nodes.client import execute
from app.nodes.job_lock import JobLock
from app.nodes.redis_errors import IndexMissing
from app.nodes.shard import lone_shard
from app.settings import Settings, VectorType
from app.storage.checks import check_indexes
from app.storage.index import Indexes
from app.storage.index_info import read_info
from app.storage.index_move import IndexMover, PartitionMoves
from app.storage.redis_metrics import RedisMetrics
from app.storage.schema import episodic_schema
from app.vectors import VectorFormat
from tests.conftest import DIMENSION, running_service
from tests.kit.memory_model import MemoryModel, cosine_distance

ALIAS = "episodic_memory_idx:{a}"
FLAT = episodic_schema("a", VectorFormat(DIMENSION))
HNSW = FLAT.as_("HNSW")
THRESHOLD = 100
WAIT_S = 90


def experience(number: int) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    return {
        "id": f"m{number}",
        "agent_id": "a",
        "product_id": "p" if number % 3 else "q",
        "regime": "r",
        "reward": float(number % 7),
        "action": "buy",
        "timestamp": 1_700_000_000.0 + number,
        "terminal": False,
        "state_vector": [float(x) for x in rng.normal(size=DIMENSION)],
    }


async def store(api: httpx.AsyncClient, numbers: range) -> None:
    batch = [experience(i) for i in numbers]
    for start in range(0, len(batch), 1000):
        answer = await api.post(
            "/v1/episodic/batch", json={"memories": batch[start : start + 1000]}
        )
        assert answer.json()["failed"] == 0


async def ask(api: httpx.AsyncClient, number: int = 5, **more: Any) -> dict[str, Any]:
    question = {"agent_id": "a", "state_vector": experience(number)["state_vector"], **more}
    answer = await api.post("/v1/episodic/search", json=question)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def indexes(redis: Redis, vector_type: VectorType = "float32") -> Indexes:
    return Indexes(
        lone_shard(redis),
        layout="per_agent",
        dimension=DIMENSION,
        vector_type=vector_type,
        wait_s=5,
    )


def moves(
    redis: Redis, threshold: int = THRESHOLD, vector_type: VectorType = "float32"
) -> PartitionMoves:
    """As of one process. Its turn is over at once."""
    own = indexes(redis, vector_type)
    return PartitionMoves(
        IndexMover(lone_shard(redis), own),
        JobLock(lone_shard(redis)),
        threshold=threshold,
        interval_s=0.001,
    )


async def run(
    redis: Redis, threshold: int = THRESHOLD, vector_type: VectorType = "float32"
) -> None:
    await redis.delete("turn:{index_moves}")
    await moves(redis, threshold, vector_type).run_in_turn()


async def behind_alias(redis: Redis) -> str:
    (info,) = await read_info(redis, [ALIAS])
    return info.name


async def names(redis: Redis) -> list[str]:
    return sorted(name.decode() for name in await execute(redis, "FT._LIST"))


async def build_beside(redis: Redis) -> None:
    """A second index, as a move leaves it that ends before the alias is switched."""
    await execute(redis, *HNSW.create_command(scan=True))


async def test_large_partition_moves_and_says_that_it_is_approximate(
    settings: Settings, redis: Redis
) -> None:
    async with running_service(settings) as api:
        await store(api, range(THRESHOLD))
        await run(redis)
        assert await names(redis) == [FLAT.name]
        assert (await ask(api))["exact"] is True
        await store(api, range(THRESHOLD, THRESHOLD + 50))
        await run(redis)
        assert await names(redis) == [HNSW.name]
        assert await behind_alias(redis) == HNSW.name
        found = await ask(api, top_k=1, explain=True)
        assert (found["exact"], found["memories"][0]["id"]) == (False, "m5")
        assert found["explain"]["algorithm"] == "HNSW"
        everything = await ask(api, top_k=1000, exact=True)
        assert (everything["exact"], everything["count"]) == (True, THRESHOLD + 50)
        filtered = await ask(api, top_k=1000, exact=True, product_id="q")
        assert filtered["count"] == len(range(0, THRESHOLD + 50, 3))
        with_vectors = await ask(api, top_k=1, include_vectors=True)
        assert with_vectors["memories"][0]["state_vector"] == pytest.approx(
            experience(5)["state_vector"]
        )
        page = await api.post("/v1/episodic/query", json={"agent_id": "a", "limit": 1})
        assert page.json()["total"] == THRESHOLD + 50


async def test_float16_moves_there_and_back(settings: Settings, redis: Redis) -> None:
    async with running_service(settings.model_copy(update={"vector_type": "float16"})) as api:
        await store(api, range(THRESHOLD + 1))
        exact = await ask(api, top_k=1000)
        for threshold, index in ((THRESHOLD, HNSW), (0, FLAT)):
            await run(redis, threshold, "float16")
            assert await names(redis) == [index.name]
            (info,) = await read_info(redis, [ALIAS])
            assert (info.data_type, info.documents, info.failures) == ("FLOAT16", THRESHOLD + 1, 0)
            found = await ask(api, top_k=1000, exact=True)
            assert found["memories"] == exact["memories"]
            nearest = await ask(api, top_k=1, explain=True)  # past the cache
            assert nearest["exact"] is (index is FLAT)
            assert nearest["memories"][0]["id"] == "m5"


async def test_shrunk_partition_moves_back_with_hysteresis(
    settings: Settings, redis: Redis
) -> None:
    async with running_service(settings) as api:
        await store(api, range(THRESHOLD + 1))
        await run(redis)
        assert await names(redis) == [HNSW.name]

        async def keep_below(timestamp: float) -> None:
            body = {"agent_id": "a", "since": timestamp, "dry_run": False}
            assert (await api.post("/v1/episodic/delete", json=body)).json()["remaining"] == 0

        await keep_below(1_700_000_000.0 + THRESHOLD // 2 + 1)
        await run(redis)
        assert await names(redis) == [HNSW.name]
        await keep_below(1_700_000_000.0 + THRESHOLD // 2)
        await run(redis)
        assert await names(redis) == [FLAT.name]
        found = await ask(api, top_k=1000)
        assert (found["exact"], found["count"]) == (True, THRESHOLD // 2)


async def test_threshold_0_moves_nothing_and_brings_back_what_moved(
    settings: Settings, redis: Redis
) -> None:
    async with running_service(settings) as api:
        await store(api, range(THRESHOLD + 1))
        await run(redis, threshold=0)
        assert await names(redis) == [FLAT.name]
        await run(redis)
        assert await names(redis) == [HNSW.name]
        await run(redis, threshold=0)
        assert await names(redis) == [FLAT.name]
        assert (await ask(api))["exact"] is True


class DyingRedis(Redis):
    """Its process dies right before or right after a command."""

    dies_at = ""
    dies_before = False

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if args[0] == self.dies_at and self.dies_before:
            raise KeyboardInterrupt
        reply = await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        if args[0] == self.dies_at:
            raise KeyboardInterrupt
        return reply


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("command", ["FT.CREATE", "FT.ALIASUPDATE", "FT.DROPINDEX"])
async def test_a_move_that_ends_in_the_middle_is_finished_by_a_later_one(
    settings: Settings, redis: Redis, command: str, before: bool
) -> None:
    assert settings.redis_url is not None
    async with running_service(settings) as api:
        await store(api, range(THRESHOLD + 1))
        dying = DyingRedis.from_url(settings.redis_url.get_secret_value(), protocol=2)
        assert isinstance(dying, DyingRedis)
        dying.dies_at, dying.dies_before = command, before
        with pytest.raises(KeyboardInterrupt):
            await run(dying)
        await dying.aclose()
        await store(api, range(THRESHOLD + 1, THRESHOLD + 20))
        found = await ask(api, top_k=1000)
        assert found["count"] == THRESHOLD + 20
        assert found["exact"] is (await behind_alias(redis) == FLAT.name)
        await run(redis)
        assert await names(redis) == [HNSW.name]
        assert (await ask(api, top_k=1000, exact=True))["count"] == THRESHOLD + 20


async def test_what_a_cut_off_move_left_goes_when_it_is_not_wanted_any_more(
    settings: Settings, redis: Redis
) -> None:
    async with running_service(settings) as api:
        await store(api, range(10))
        await build_beside(redis)
        await run(redis)
        assert await names(redis) == [FLAT.name]


@pytest.mark.parametrize("dropped", [FLAT.name, HNSW.name])
async def test_either_index_dropped_by_hand_heals(
    settings: Settings, redis: Redis, dropped: str
) -> None:
    async with running_service(settings) as api:
        await store(api, range(THRESHOLD + 1))
        await build_beside(redis)
        await execute(redis, "FT.DROPINDEX", dropped)
        assert (await ask(api, top_k=1000))["count"] == THRESHOLD + 1
        await run(redis)
        assert await behind_alias(redis) == HNSW.name
        assert (await ask(api, top_k=1000))["count"] == THRESHOLD + 1
        await execute(redis, "FT.DROPINDEX", HNSW.name)
        found = await ask(api, 6, top_k=1000)
        assert (found["exact"], found["count"]) == (True, THRESHOLD + 1)
        assert await names(redis) == [FLAT.name]


async def test_two_processes_at_once_do_no_harm(settings: Settings, redis: Redis) -> None:
    async with running_service(settings) as api:
        await store(api, range(1000))

        async def one() -> None:
            mover = IndexMover(lone_shard(redis), indexes(redis))
            place = await mover.place("a")
            assert place is not None
            try:
                await mover.move(place, "HNSW", keep_turn)
            except IndexMissing:
                # The other one was done first, and dropped what this one still looked at.
                assert await behind_alias(redis) == HNSW.name

        async def keep_turn() -> None:
            await asyncio.sleep(0)

        await asyncio.gather(one(), one(), one())
        await run(redis)
        assert await names(redis) == [HNSW.name]
        assert (await ask(api, top_k=1000, exact=True))["count"] == 1000


async def test_only_who_has_the_turn_moves(settings: Settings, redis: Redis) -> None:
    async with running_service(settings) as api:
        await store(api, range(THRESHOLD + 1))
    await JobLock(lone_shard(redis)).hold("index_moves", 60)
    await moves(redis).run_in_turn()
    assert await names(redis) == [FLAT.name]


async def test_no_move_without_room_in_redis(settings: Settings, redis: Redis) -> None:
    async with running_service(settings) as api:
        await store(api, range(THRESHOLD + 1))
    used = int((await redis.info("memory"))["used_memory"])
    await redis.config_set("maxmemory", round(used * 1.05))
    try:
        await run(redis)
        assert await names(redis) == [FLAT.name]
        await redis.config_set("maxmemory", 10 * used)
        await run(redis)
        assert await names(redis) == [HNSW.name]
    finally:
        await redis.config_set("maxmemory", 0)


async def test_stats_and_check_tell_of_a_move(settings: Settings, redis: Redis) -> None:
    async with running_service(settings) as api:
        await store(api, range(THRESHOLD + 1))

        async def index() -> dict[str, Any]:
            found = (await api.get("/v1/stats")).json()
            assert (found["totals"]["memories"], found["totals"]["indexes"]) == (THRESHOLD + 1, 1)
            body: dict[str, Any] = found["indexes"][0]
            return body

        assert (await index())["moving_to"] is None
        await build_beside(redis)
        while (await index())["moving_progress"] != 1.0:
            await asyncio.sleep(0.01)
        moving = await index()
        assert (moving["algorithm"], moving["moving_to"]) == ("FLAT", "HNSW")
        notes = [
            f.sentence
            for f in await check_indexes(lone_shard(redis), indexes(redis))
            if f.verdict != "ok"
        ]
        (note,) = notes
        assert note.startswith(f"The index {HNSW.name} (100% built) stands")
        await run(redis)
        moved = await index()
        assert (moved["algorithm"], moved["moving_to"], moved["status"]) == ("HNSW", None, "ready")
        assert [f.verdict for f in await check_indexes(lone_shard(redis), indexes(redis))] == ["ok"]
    async with running_service(settings) as api:  # verify at start knows both
        assert (await ask(api))["exact"] is False


async def test_the_metrics_count_a_memory_in_two_indexes_once(
    settings: Settings, redis: Redis
) -> None:
    async with running_service(settings) as api:
        await store(api, range(THRESHOLD))
        await build_beside(redis)
        shards = lone_shard(redis)
        figures = RedisMetrics(shards, interval_s=60, slower_than_us=-1)
        async with asyncio.timeout(WAIT_S):
            while not (await read_info(redis, [HNSW.name]))[0].is_complete:
                await asyncio.sleep(0.01)
            sums = await figures._index_sums(shards.home)
        flat, hnsw = await read_info(redis, [FLAT.name, HNSW.name])
        assert (sums.documents, sums.open_memories, sums.progress) == (THRESHOLD, 0, 1.0)
        assert sums.size_bytes == flat.size_bytes + hnsw.size_bytes


async def moved(api: httpx.AsyncClient, algorithm: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            (index, *_) = (await api.get("/v1/stats")).json()["indexes"]
            if (index["algorithm"], index["moving_to"]) == (algorithm, None):
                return
            await asyncio.sleep(0.02)


class Life:
    """Random writes and questions; each answer is compared with the model's."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(7)
        self.model = MemoryModel()
        self.seen = {True: 0, False: 0}

    async def begin(self, api: httpx.AsyncClient, count: int) -> None:
        for number in range(count):
            self.model.store(experience(number))
        await store(api, range(count))

    async def write(self, api: httpx.AsyncClient) -> None:
        memory = experience(int(self.rng.integers(2000)))
        answer = await api.post("/v1/episodic", json=memory)
        assert answer.status_code == self.model.store(memory)
        if self.rng.integers(4) == 0:
            gone = f"m{self.rng.integers(2000)}"
            answer = await api.delete(f"/v1/episodic/a/{gone}")
            assert answer.status_code == self.model.delete("a", gone)

    async def compare(self, api: httpx.AsyncClient) -> None:
        vector = [float(x) for x in self.rng.normal(size=DIMENSION)]
        wanted = {"product_id": "q"} if self.rng.integers(2) else {}
        must_be_exact = bool(self.rng.integers(3) == 0)
        body = {"agent_id": "a", "state_vector": vector, "top_k": 7, "exact": must_be_exact}
        answer = await api.post("/v1/episodic/search", json=body | wanted)
        found = answer.json()
        assert answer.status_code == 200, found
        distances = {
            m["id"]: cosine_distance(m["state_vector"], vector)
            for m in self.model.of({"a"}, wanted)
        }
        hits = [hit["distance"] for hit in found["memories"]]
        own = [distances[hit["id"]] for hit in found["memories"]]
        assert hits == pytest.approx(own, abs=1e-4)
        assert found["exact"] or not must_be_exact
        if found["exact"]:
            assert hits == pytest.approx(sorted(distances.values())[:7], abs=1e-4)
        self.seen[found["exact"]] += 1

    async def go_on(self, apis: list[httpx.AsyncClient], until: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(until)
        while not task.done():
            await self.write(apis[0])
            for api in apis:
                await self.compare(api)
        await task


async def test_answers_equal_the_model_while_the_index_moves(
    settings: Settings, redis: Redis
) -> None:
    """Writes through one service, questions to two, while the index moves there and back."""
    common = {"cache_enabled": False, "hnsw_threshold": THRESHOLD}
    # Moves nothing itself, and is told of nothing: its searches find out.
    still = settings.model_copy(update={**common, "hnsw_check_interval_s": 1e6})
    up = settings.model_copy(update={**common, "hnsw_check_interval_s": 0.3})
    down = up.model_copy(update={"hnsw_threshold": 0})
    life = Life()
    async with running_service(still) as other:
        await life.begin(other, 1000)
        for _ in range(5):
            await life.compare(other)
        assert life.seen == {True: 5, False: 0}
        async with running_service(up) as api:
            await life.go_on([api, other], moved(api, "HNSW"))
            for _ in range(20):
                await life.compare(other)
            assert life.seen[False] > 0
        async with running_service(down) as api:
            await life.go_on([api, other], moved(api, "FLAT"))
            approximate = life.seen[False]
            for _ in range(20):
                await life.compare(other)
            assert life.seen[False] == approximate
