from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from redis import Redis

from bench.arguments import parse_arguments, partitions
from bench.redis_node import running_redis
from bench.scale.engine_study import EngineRow
from bench.scale.index_under_test import IndexUnderTest, LoadTooLong
from bench.scale.scale_report import _crossing_table


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with running_redis() as node, Redis.from_url(node.url, protocol=2) as client:
        assert node.process_ids
        yield client


def vectors(count: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, 16), dtype=np.float32)


@pytest.mark.parametrize(("algorithm", "ef"), [("FLAT", None), ("HNSW", 500)])
def test_an_index_finds_what_was_loaded(redis: Redis, algorithm: str, ef: int | None) -> None:
    stored = vectors(600)
    index = IndexUnderTest(redis, algorithm, 16)  # type: ignore[arg-type]
    loaded = index.load(stored, limit_s=60)
    assert loaded.used_bytes > stored.nbytes
    assert loaded.index_bytes > 0
    similarity = stored @ stored[7] / np.linalg.norm(stored, axis=1)
    assert index.search(stored[7], ef) == np.argsort(-similarity)[:10].tolist()
    assert index.searches_per_second(stored[:40], ef) > 0


def test_a_load_that_takes_too_long_is_given_up(redis: Redis) -> None:
    index = IndexUnderTest(redis, "FLAT", 16)
    with pytest.raises(
        LoadTooLong, match=r"given up after [\d,]+ vectors: all take over \d+ minutes"
    ):
        index.load(vectors(5_000), limit_s=1e-6)


def test_the_million_is_run_only_when_asked_for() -> None:
    usual = partitions(parse_arguments(["scale"]))
    assert {p.size for p in usual if p.data == "random" and p.dimension == 256} == {
        *(1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
    }
    largest = partitions(parse_arguments(["scale", "--largest", "1000000"]))
    assert {(p.data, p.dimension) for p in largest if p.size == 1_000_000} == {
        *[("random", 256), ("random", 768)]
    }


def test_flat_is_set_against_the_cheapest_hnsw_that_is_right() -> None:
    def row(algorithm: str, ef: int | None, p50_ms: float, recall: float) -> EngineRow:
        return EngineRow(
            *("market", 256, 1000, algorithm, ef),  # type: ignore[arg-type]
            p50_ms=p50_ms,
            recall=recall,
            load_s=1.0,
        )

    rows = [
        row("FLAT", None, 1.0, 1.0),
        row("HNSW", 10, 0.1, 0.5),
        row("HNSW", 64, 0.25, 0.97),
        row("HNSW", 256, 0.5, 1.0),
    ]
    table = _crossing_table(rows)
    assert table.rows == (
        ("market", "256", "1,000", "1.00", "0.25", "64", "4.0", "1,000", "1,000"),
    )
    (wrong,) = _crossing_table(rows[:2]).rows
    assert wrong[4] == "no EF reaches it"
    unknown = replace(rows[1], not_run="given up")
    (given_up,) = _crossing_table([rows[0], unknown]).rows
    assert given_up[3:6] == ("1.00", "not run", "-")
