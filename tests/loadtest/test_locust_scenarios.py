"""Locust itself, run as its users run it."""

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from app.embedded.node import free_port
from bench.data import QUESTIONS, workload
from bench.measurement import Checked, check_searches
from bench.paths import LOADTEST, REPOSITORY
from bench.samples import read_samples
from tests.kit.service_process import NO_TLS, service_process

SCENARIOS = {"ConcurrentAgent", "SingleAgent", "TradingAgent"}


def test_the_folder_holds_the_three_scenarios() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "locust", "-f", "loadtest/", "--list"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert set(listed.stdout.split()) >= SCENARIOS


def test_no_scenario_shadows_a_library() -> None:
    """Locust imports every file here under its bare name."""
    names = [path.stem for path in LOADTEST.rglob("*.py") if not path.name.startswith("_")]
    assert len(names) == len(SCENARIOS)
    for name in names:
        found = importlib.util.find_spec(name)
        assert found is None or Path(str(found.origin)).is_relative_to(LOADTEST)


@contextmanager
def locust(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "locust", "-f", "loadtest/", *words],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def wait_for(url: str) -> httpx.Response:
    give_up_at = time.monotonic() + 90
    while True:
        try:
            return httpx.get(url, timeout=60, trust_env=False, verify=NO_TLS)
        except httpx.TransportError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.1)


def test_the_web_page_starts_a_test_that_stores_its_memories_first(tmp_path: Path) -> None:
    port = free_port()
    page = f"http://127.0.0.1:{port}"
    with (
        service_process(data_dir=tmp_path / "data", dimension=16) as service,
        locust("--web-port", str(port), "--host", service.url, "SingleAgent"),
    ):
        assert "Locust" in wait_for(page).text
        form = {"user_count": 2, "spawn_rate": 2, "host": service.url}
        form |= {"dimension": 16, "memories": 50, "data": "random", "vectors": "numbers"}
        started = httpx.post(f"{page}/swarm", data=form, timeout=60, trust_env=False, verify=NO_TLS)
        assert started.json()["success"] is True
        give_up_at = time.monotonic() + 90
        while True:
            stats = httpx.get(
                f"{page}/stats/requests", timeout=60, trust_env=False, verify=NO_TLS
            ).json()
            counts = {row["name"]: row["num_requests"] for row in stats["stats"]}
            if counts.get("phase 1: search", 0) >= 20:
                break
            assert time.monotonic() < give_up_at, counts
            time.sleep(0.2)
        assert stats["errors"] == []
        with service.client() as client:
            assert client.get("/v1/episodic/single-random-0000/49").status_code == 200
            assert client.get("/v1/episodic/single-random-0000/50").status_code == 404


@pytest.mark.parametrize(
    ("scenario", "users"), [("SingleAgent", 1), ("ConcurrentAgent", 4), ("TradingAgent", 10)]
)
def test_each_scenario_runs_on_the_command_line_and_is_right(
    scenario: str, users: int, tmp_path: Path
) -> None:
    path = tmp_path / "samples.json"
    words = ["-u", str(users), "-r", str(users), "--dimension", "16", "--memories", "40"]
    words += ["--agents", "4", "--queries", "25", "--time-scale", "300", "--trading-minutes", "5"]
    with (
        service_process(data_dir=tmp_path / "data", dimension=16) as service,
        locust(
            *("--headless", "--host", service.url, "--samples", str(path), *words, scenario)
        ) as process,
    ):
        assert process.wait(200) == 0
    samples = read_samples(path)
    assert samples.failures == {}
    assert {request.agent for request in samples.requests} == set(range(users))
    if scenario == "TradingAgent":
        kinds = {request.kind.removeprefix("phase 3: ") for request in samples.requests}
        assert kinds == {"pattern search", "trade search", "store"}
        return
    assert len(samples.requests) == 25 * users
    made = workload(
        "random",
        name="single" if users == 1 else "swarm",
        agents=users,
        memories_each=40,
        questions=QUESTIONS,
        dimension=16,
        seed=1,
    )
    assert check_searches(samples, made) == Checked(answers=25 * users, recall=1.0)


def test_memories_that_the_service_refuses_end_the_run(tmp_path: Path) -> None:
    with (
        service_process(data_dir=tmp_path / "data", dimension=8) as service,
        locust("--headless", "--host", service.url, "--dimension", "16", "SingleAgent") as process,
    ):
        assert process.wait(200) == 2
