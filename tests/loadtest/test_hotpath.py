"""What the hot path is held against, and what is said when a rival cannot be had."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from bench.compare.adapter import CannotRun
from bench.compare.asking import PREPARING
from bench.compare.dataset import Dataset, make_dataset
from bench.compare.standing import StandingDatabase
from bench.load.http_load import HttpFigures, HttpLoad
from bench.studies._hotpath_report import as_json, report
from bench.studies._hotpath_rows import (
    ASYNCIO,
    CHROMA,
    OWN_CLIENT,
    QDRANT,
    SERVICE,
    SYNC,
    Row,
    Side,
)
from bench.studies._hotpath_targets import Target, targets
from bench.studies._peer import Peer
from bench.studies._raw_redis import RawFigures

ROUNDS = 3


def over_http(way: str, clients: int, number: int, *, rate: float, p50_ms: float) -> Row:
    figures = HttpFigures(rate, p50_ms, p50_ms, p50_ms * 2, 0.1, 200.0, 60.0)
    return Row("random", 1, number, way, clients, figures)


def raw(way: str, clients: int, number: int, *, rate: float, p50_ms: float) -> Row:
    return Row("random", 1, number, way, clients, RawFigures(rate, p50_ms, p50_ms * 2))


def measured() -> list[Row]:
    """The service gives 5,000 a second, Chroma 250 with 16 clients, Qdrant answers in 0.1 ms."""
    rows = []
    for number in range(ROUNDS):
        rows += [
            raw(SYNC, 1, number, rate=9000, p50_ms=0.2),
            over_http(SERVICE, 1, number, rate=2500, p50_ms=0.3),
            over_http(CHROMA, 1, number, rate=150, p50_ms=6),
            raw(CHROMA + OWN_CLIENT, 1, number, rate=120, p50_ms=8),
            raw(QDRANT, 1, number, rate=9000, p50_ms=0.1),
            over_http(SERVICE, 16, number, rate=5000, p50_ms=3),
            raw(ASYNCIO, 16, number, rate=10_000, p50_ms=1),
            over_http(CHROMA, 16, number, rate=250, p50_ms=60),
            over_http(SERVICE, 50, number, rate=5200, p50_ms=9),
            raw(ASYNCIO, 50, number, rate=10_000, p50_ms=3),
        ]
    return rows


def sides(*, service: float = 1.0, chroma: str | None = None, peer: float = 0.995) -> list[Side]:
    return [
        Side("random", SERVICE, "FLAT", service),
        Side("random", CHROMA, "HNSW", math.nan if chroma else peer, chroma),
        Side("random", QDRANT, "HNSW", peer),
    ]


def find(found: list[Target], name: str) -> Target:
    (target,) = (target for target in found if name in target.name)
    return target


def test_rivals_are_judged_by_the_best_of_each_side() -> None:
    found = targets(measured(), sides())
    chroma, qdrant = find(found, "Chroma"), find(found, "Qdrant")
    assert (chroma.measured, chroma.is_met) == (5000 / 250, True)
    assert qdrant.measured == pytest.approx(3.0)
    assert not qdrant.is_met
    assert len(found) == 8


def test_what_was_not_measured_is_listed_and_not_met() -> None:
    rows = [row for row in measured() if not row.way.startswith(CHROMA)]
    missing = sides(chroma="No module named 'chromadb'")
    chroma = find(targets(rows, missing), "Chroma")
    assert (chroma.measured, chroma.is_met) == (None, False)
    text = report(rows, missing, conditions="Here.", generator="wrk", checked=200, least=0.99)
    assert "| at least 10 | not measured | not met: No module named 'chromadb' |" in text
    judged = orjson.loads(as_json(rows, missing))["targets"]
    assert len(judged) == 8
    (listed,) = (item for item in judged if "Chroma" in item["target"]["name"])
    assert (listed["is_met"], listed["target"]["measured"]) == (False, None)


def test_a_ratio_at_less_recall_than_the_rivals_meets_nothing() -> None:
    assert find(targets(measured(), sides(service=0.99)), "Chroma").is_met
    chroma = find(targets(measured(), sides(service=0.98)), "Chroma")
    assert not chroma.is_met
    assert chroma.why == "recall 0.980 against 0.995"


@pytest.fixture(scope="module")
def data() -> Dataset:
    return make_dataset("random", memories=400, questions=PREPARING + 300, seed=1)


@pytest.fixture
def dataset(data: Dataset, tmp_path: Path) -> Path:
    data.save(tmp_path / "data.npz")
    return tmp_path / "data.npz"


@pytest.fixture
def standing(dataset: Path, request: pytest.FixtureRequest) -> Iterator[StandingDatabase]:
    database = StandingDatabase(
        request.param, dataset, python=Path(sys.executable), min_recall=0.99
    )
    yield database
    database.close()


@pytest.mark.parametrize("standing", ["numpy"], indirect=True)
def test_a_standing_database_is_asked_again_and_again(standing: StandingDatabase) -> None:
    ready = standing.ready(60)
    assert (ready.name, ready.http, ready.not_run) == ("numpy", None, None)
    for callers in (1, 2):
        run = standing.ask(callers=callers, seconds=0.5)
        assert (run.callers, run.recall) == (callers, 1.0)


@pytest.mark.parametrize("standing", ["memory"], indirect=True)
def test_a_standing_server_is_asked_over_http_by_the_load_generator(
    standing: StandingDatabase,
) -> None:
    ready = standing.ready(100)
    assert ready.http is not None
    assert ready.http.recall == 1.0
    load = HttpLoad(ready.http.path, ready.http.bodies.read_bytes().splitlines())
    try:
        figures = load.run(ready.http.port, 2, seconds=1)
    finally:
        load.close()
    assert figures.rate > 0
    assert 0 < figures.p50_ms <= figures.p99_ms


@pytest.mark.parametrize("standing", ["faiss"], indirect=True)
def test_a_database_without_its_package_says_so(standing: StandingDatabase) -> None:
    with pytest.raises(CannotRun, match=r"ended with 1: ModuleNotFoundError: .*faiss"):
        standing.ready(60)


@pytest.mark.parametrize(
    ("python", "why"),
    [(Path(sys.executable), "No module named 'faiss'"), (Path("/nowhere/python"), "there is no ")],
)
def test_a_rival_that_cannot_be_had_has_no_rows_and_a_reason(
    dataset: Path, python: Path, why: str
) -> None:
    peer = Peer("faiss", "random", dataset, python=python)
    peer.wait()
    assert peer.ask(0, clients=1, seconds=1) == []
    side = peer.side()
    assert why in str(side.not_run)
    assert math.isnan(side.recall)
    peer.close()
