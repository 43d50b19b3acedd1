"""The comparison's harness, with what runs without the other databases' packages."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from bench.compare.adapter import HNSW_EFS, Adapter, CannotRun
from bench.compare.adapters.brute_force import BruteForce
from bench.compare.adapters.raw_redis import RawRedisPerAgent, RawRedisShared
from bench.compare.asking import (
    PREPARING,
    ask_in_processes,
    ask_in_threads,
    first_answers,
    raise_ef,
    recall,
)
from bench.compare.compare_report import compare_report
from bench.compare.comparison import (
    CALLERS,
    Plan,
    compare,
    is_complete,
)
from bench.compare.dataset import Dataset, load_dataset, make_dataset
from bench.compare.registry import ADAPTERS, NEED_A_SERVER, OWN_ENVIRONMENT, PUBLISHED
from bench.compare.summary import (
    OURS,
    REFERENCE,
    Case,
    CaseResult,
    Database,
    Measured,
    Summary,
    p50_ms,
    ratio,
    read_summary,
    write_summary,
)
from bench.compare.verdicts import verdicts
from bench.data import market_history
from bench.idle import MachineBusy, wait_for_an_idle_machine
from bench.paths import BENCHMARKS
from bench.processor_time import OtherWork
from bench.recall import TOP_K
from bench.report import markdown
from tests.demo.synthetic import random_market

TENANTS = 20
QUESTIONS = PREPARING + 60


@pytest.fixture(scope="module")
def data() -> Dataset:
    return make_dataset("random", memories=400, questions=QUESTIONS, seed=1, dimension=16)


def test_the_data_is_the_same_in_another_process(data: Dataset, tmp_path: Path) -> None:
    data.save(tmp_path / "data.npz")
    read = load_dataset(tmp_path / "data.npz")
    again = make_dataset("random", memories=400, questions=QUESTIONS, seed=1, dimension=16)
    for name in ("vectors", "agents", "asked", "askers", "kth"):
        assert np.array_equal(getattr(read, name), getattr(data, name))
        assert np.array_equal(getattr(again, name), getattr(data, name))
    assert np.bincount(data.agents).tolist() == [400 // TENANTS] * TENANTS


@pytest.fixture
def market(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A random market in place of the demo's, whose package only `make demo` installs."""
    prices = SimpleNamespace(load_market=lambda: random_market(days=1600, products=3))
    monkeypatch.setitem(sys.modules, "demo.prices", prices)
    market_history.cache_clear()
    yield
    market_history.cache_clear()


@pytest.mark.usefixtures("market")
def test_a_long_market_vector_is_the_windows_of_the_days_before_as_well() -> None:
    short, wide = market_history(), market_history(768)
    row = len(wide.past) // 2
    stock = np.flatnonzero(short.past.products == wide.past.products[row])
    day = int(np.flatnonzero(short.past.timestamps[stock] == wide.past.timestamps[row])[0])
    assert day >= 42
    expected = np.concatenate([short.past.vectors[stock[day - back]] for back in (0, 21, 42)])
    assert np.array_equal(wide.past.vectors[row], expected)
    assert len(wide.later) == len(short.later)
    with pytest.raises(ValueError, match="256 numbers"):
        market_history(100)


def loaded(adapter: Adapter, data: Dataset, folder: Path) -> Adapter:
    adapter.start(folder, data.vectors.shape[1])
    adapter.load(data.vectors, data.agents)
    return adapter


def test_brute_force_is_exact_and_keeps_to_the_tenant(data: Dataset, tmp_path: Path) -> None:
    engine = loaded(BruteForce(), data, tmp_path)
    run = ask_in_threads(engine, data, first=0, callers=3, seconds=0.2)
    assert (run.callers, run.recall) == (3, 1.0)
    assert run.searches > 0
    assert 0 < run.p50_ms <= run.p99_ms


@pytest.mark.parametrize("adapter", [RawRedisPerAgent, RawRedisShared])
def test_a_server_is_asked_by_processes_that_find_the_true_neighbours(
    adapter: type[Adapter], data: Dataset, tmp_path: Path
) -> None:
    server = loaded(adapter(), data, tmp_path)
    try:
        clients = server.client_factory()
        assert clients is not None
        run = ask_in_processes(clients, data, first=7, callers=2, seconds=0.2)
        assert (run.callers, run.recall) == (2, 1.0)
        server.stop()
        with pytest.raises(CannotRun, match="ConnectionError"):
            ask_in_processes(clients, data, first=0, callers=2, seconds=0.2)
    finally:
        server.stop()


class Forgetful(BruteForce):
    """Finds only what belongs to other tenants."""

    def search(self, vector: object, agent: int) -> list[int]:
        other = (agent + 1) % TENANTS
        return [int(row) for row in self._rows[other][:TOP_K]]


class LazyGraph(BruteForce):
    """Right only when EF is high, as an approximate index is."""

    ef = HNSW_EFS[0]

    def search(self, vector: object, agent: int) -> list[int]:
        assert self.ef is not None
        found = list(super().search(vector, agent))  # type: ignore[arg-type]
        return found if self.ef >= 256 else found[:5]


class Failing(BruteForce):
    """Fails at the first question."""

    def search(self, vector: object, agent: int) -> list[int]:
        raise ConnectionError("gone")


def test_hits_of_another_tenant_are_wrong(data: Dataset, tmp_path: Path) -> None:
    engine = loaded(Forgetful(), data, tmp_path)
    assert recall(data, first_answers(engine.client(), data)) == 0.0


def test_ef_is_raised_until_recall_is_good(data: Dataset, tmp_path: Path) -> None:
    engine = loaded(LazyGraph(), data, tmp_path)
    assert raise_ef(engine, data) == ", EF 256"
    assert recall(data, first_answers(engine.client(), data)) == 1.0


def test_a_caller_that_fails_ends_the_measurement(data: Dataset, tmp_path: Path) -> None:
    engine = loaded(Failing(), data, tmp_path)
    with pytest.raises(CannotRun, match="ConnectionError: gone"):
        ask_in_threads(engine, data, first=0, callers=3, seconds=5)


def plan(databases: Sequence[str], **changes: object) -> Plan:
    small = Plan(
        cases=(Case(TENANTS, 16),),
        databases=tuple(databases),
        data="random",
        memories=400,
        questions=QUESTIONS,
        rounds=1,
        seconds=1,
        seed=1,
        limit_s=50,
        peers=Path(sys.executable),
    )
    return replace(small, **changes)  # type: ignore[arg-type]


def summary_of(*cases: CaseResult) -> Summary:
    return Summary(
        date="today",
        command="python -m bench compare",
        machine="2 processors",
        commit="0",
        data="market",
        rounds=2,
        seconds=1,
        callers=CALLERS,
        load_at_start=0.5,
        load_at_end=3.0,
        cases=cases,
    )


def test_each_database_stays_loaded_in_a_process_of_its_own_or_says_why_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("COMPARE_MILVUS_URI", raising=False)
    (case,) = compare(plan(["numpy", "faiss", "milvus"]), lambda _: None)
    numpy_row, faiss_row, milvus_row = case.databases
    assert [each.callers for each in numpy_row.measured] == list(CALLERS)
    assert numpy_row.recall == 1.0
    # The package is not installed where the tests run: the row says so.
    assert "faiss" in str(faiss_row.not_run)
    assert "COMPARE_MILVUS_URI" in str(milvus_row.not_run)
    assert not is_complete(summary_of(case))
    text = markdown(compare_report(summary_of(case)))
    assert "NOT RUN: no server: set COMPARE_MILVUS_URI" in text


def test_a_database_that_loads_too_long_is_not_waited_for() -> None:
    (case,) = compare(plan(["numpy"], limit_s=0.01), lambda _: None)
    assert case.databases[0].not_run == "no answer within 0.01 s"


def database(key: str, p50s: Sequence[float], *, callers: Sequence[int] = CALLERS) -> Database:
    """Measured in as many rounds; searches a second go with the inverse of its P50."""
    rounds = [
        Measured(number, count, 100, p50, 2 * p50, 1000 / p50, others=0.1 * number)
        for number, p50 in enumerate(p50s)
        for count in callers
    ]
    return Database(key, key, "here", recall=1.0, measured=tuple(rounds))


def test_a_ratio_is_the_median_of_the_rounds_so_that_drift_hits_both() -> None:
    slow_in_the_second_round = database(OURS, [2.0, 20.0, 2.0])
    reference = database(REFERENCE, [1.0, 10.0, 1.0])
    assert ratio(slow_in_the_second_round, reference, 1, p50_ms) == 2.0
    assert slow_in_the_second_round.others(1) == pytest.approx(0.2)


def test_a_missed_target_says_how_busy_the_machine_was() -> None:
    rows = (database(OURS, [3.0, 3.0]), database(REFERENCE, [1.0, 1.0]), database("chroma", [9, 9]))
    summary = summary_of(CaseResult(Case(250, 256), 50_000, 20_000, rows))
    judged = {verdict.target: verdict for verdict in verdicts(summary)}
    missed = judged["P50 with 1 caller, of redis's"]
    assert (missed.measured, missed.is_met) == (3.0, False)
    assert missed.words(0.5) == (
        "FAIL (other programs kept up to 0.10 processors busy; load average 0.50 at the start)"
    )
    assert judged["searches/s with 10 callers, of chroma's"].words(0.5) == "PASS"
    assert "FAIL: 3 of 7 targets missed." in compare_report(summary).lead


def test_a_busy_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "getloadavg", lambda: (1.01, 0.0, 0.0))
    with pytest.raises(MachineBusy, match=r"1\.01, above 1"):
        wait_for_an_idle_machine(lambda _: None, wait_s=-1)
    monkeypatch.setattr(psutil, "getloadavg", lambda: (1.0, 9.0, 9.0))
    wait_for_an_idle_machine(lambda _: None, wait_s=-1)


def test_a_summary_is_read_back(tmp_path: Path) -> None:
    rows = (database(OURS, [0.123456, 0.2]),)
    summary = summary_of(CaseResult(Case(20, 256), 400, 260, rows))
    write_summary(summary, tmp_path / "compare.json")
    read = read_summary(tmp_path / "compare.json")
    assert read.cases[0].databases[0].measured[0].p50_ms == 0.1235
    assert read.callers == CALLERS


@pytest.mark.parametrize("name", ["compare", "compare-million"])
def test_a_published_page_is_that_of_its_summary(name: str) -> None:
    summary = BENCHMARKS / f"{name}.json"
    if not summary.exists():
        pytest.skip(f"{name} is not published yet: it takes an idle machine")
    page = (BENCHMARKS / f"{name}.md").read_text("utf-8")
    assert page == markdown(compare_report(read_summary(summary)))


def test_work_of_this_process_is_not_that_of_others() -> None:
    others, own_s, began = OtherWork([]), time.process_time(), time.perf_counter()
    while time.process_time() < own_s + 0.3:
        pass
    own = (time.process_time() - own_s) / (time.perf_counter() - began)
    # Counted twice, the sum would be more than there is (on a machine that has little else to do).
    assert others.processors() + own <= (psutil.cpu_count() or 1) + 0.15


def test_what_is_published_and_what_needs_a_server_is_in_the_registry() -> None:
    assert set(PUBLISHED) <= set(ADAPTERS)
    assert set(ADAPTERS) >= NEED_A_SERVER | OWN_ENVIRONMENT
    assert len({adapter.name for adapter in ADAPTERS.values()}) == len(ADAPTERS)


@pytest.mark.parametrize("name", sorted(NEED_A_SERVER))
def test_without_an_address_a_server_cannot_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("QDRANT_URL", "MILVUS_URI"):
        monkeypatch.delenv(f"COMPARE_{variable}", raising=False)
    with pytest.raises(CannotRun, match="set COMPARE_"):
        ADAPTERS[name]().start(tmp_path, 16)
