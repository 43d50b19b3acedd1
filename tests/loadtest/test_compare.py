"""The comparison's harness, with what runs without the other databases' packages."""

from pathlib import Path

import numpy as np
import pytest

from bench.compare.adapter import HNSW_EFS, Adapter, CannotRun
from bench.compare.adapters.brute_force import BruteForce
from bench.compare.adapters.raw_redis import RawRedisPerAgent, RawRedisShared
from bench.compare.compare_report import comparison_table
from bench.compare.comparison import ComparisonRow, compare, is_complete
from bench.compare.dataset import PRODUCTS, Dataset, load_dataset, make_dataset
from bench.compare.registry import ADAPTERS, NEED_A_SERVER, PUBLISHED
from bench.compare.worker import PREPARING, Outcome, measure
from bench.recall import TOP_K


@pytest.fixture(scope="module")
def data() -> Dataset:
    return make_dataset("random", memories=400, questions=PREPARING + 60, seed=1, dimension=16)


def test_the_data_is_the_same_in_another_process(data: Dataset, tmp_path: Path) -> None:
    data.save(tmp_path / "data.npz")
    read = load_dataset(tmp_path / "data.npz")
    again = make_dataset("random", memories=400, questions=PREPARING + 60, seed=1, dimension=16)
    for name in ("vectors", "agents", "asked", "askers", "kth"):
        assert np.array_equal(getattr(read, name), getattr(data, name))
        assert np.array_equal(getattr(again, name), getattr(data, name))
    assert np.bincount(data.agents).tolist() == [400 // PRODUCTS] * PRODUCTS


def test_brute_force_is_exact_and_keeps_to_the_agent(data: Dataset, tmp_path: Path) -> None:
    outcome = measure(BruteForce(), data, tmp_path)
    assert outcome.alone is not None
    assert outcome.together is not None
    assert outcome.alone.recall == outcome.together.recall == 1.0
    assert (outcome.alone.searches, outcome.alone.threads) == (30, 1)
    assert (outcome.together.searches, outcome.together.threads) == (30, 10)


@pytest.mark.parametrize("adapter", [RawRedisPerAgent, RawRedisShared])
def test_raw_redis_finds_the_true_neighbours(
    adapter: type[Adapter], data: Dataset, tmp_path: Path
) -> None:
    outcome = measure(adapter(), data, tmp_path)
    assert outcome.alone is not None
    assert outcome.alone.recall == 1.0
    assert outcome.memory_bytes > 0


class Forgetful(BruteForce):
    """Finds only what belongs to other agents."""

    def search(self, vector: object, agent: int) -> list[int]:
        other = (agent + 1) % PRODUCTS
        return [int(row) for row in self._rows[other][:TOP_K]]


class LazyGraph(BruteForce):
    """Right only when EF is high, as an approximate index is."""

    ef = HNSW_EFS[0]

    def search(self, vector: object, agent: int) -> list[int]:
        assert self.ef is not None
        found = list(super().search(vector, agent))  # type: ignore[arg-type]
        return found if self.ef >= 256 else found[:5]


def test_hits_of_another_agent_are_wrong(data: Dataset, tmp_path: Path) -> None:
    outcome = measure(Forgetful(), data, tmp_path)
    assert outcome.alone is not None
    assert outcome.alone.recall == 0.0


def test_ef_is_raised_until_recall_is_good(data: Dataset, tmp_path: Path) -> None:
    outcome = measure(LazyGraph(), data, tmp_path)
    assert outcome.alone is not None
    assert outcome.alone.recall == 1.0
    assert outcome.index.endswith(", EF 256")


def test_each_database_runs_in_a_process_of_its_own_or_says_why_not(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COMPARE_QDRANT_URL", "COMPARE_MILVUS_URI"):
        monkeypatch.delenv(name, raising=False)
    rows = compare(["numpy", "faiss", "milvus"], data, limit_s=50, say=lambda _: None)
    numpy_row, faiss_row, milvus_row = (row.outcome for row in rows)
    assert numpy_row.not_run is None
    # The package is not installed where the tests run: the row says so.
    assert "faiss" in str(faiss_row.not_run)
    assert "COMPARE_MILVUS_URI" in str(milvus_row.not_run)
    assert not is_complete(rows)
    assert is_complete([rows[0], rows[2]])
    table = comparison_table(rows)
    assert table.rows[2][2].startswith("not run: no server")
    assert table.rows[2][-2:] == ("3,000", "3.2")


def test_a_database_that_hangs_is_ended(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = compare(["numpy"], data, limit_s=0.01, say=lambda _: None)
    assert row.outcome.not_run == "took longer than 0.01 s (--limit)"
    assert not is_complete([row])


def test_what_is_published_and_what_needs_a_server_is_in_the_registry() -> None:
    assert set(PUBLISHED) <= set(ADAPTERS)
    assert set(ADAPTERS) >= NEED_A_SERVER
    assert len({adapter.name for adapter in ADAPTERS.values()}) == len(ADAPTERS)
    assert is_complete([ComparisonRow("qdrant", Outcome("Qdrant", "server", not_run="no server"))])


@pytest.mark.parametrize("name", sorted(NEED_A_SERVER))
def test_without_an_address_a_server_cannot_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("QDRANT_URL", "MILVUS_URI"):
        monkeypatch.delenv(f"COMPARE_{variable}", raising=False)
    with pytest.raises(CannotRun, match="set COMPARE_"):
        ADAPTERS[name]().start(tmp_path, 16)
