"""The service with its embedded Redis, started, killed and started again."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DIMENSION
from tests.kit.service_process import is_running, run_serve, service_process, wait_until_gone


def memory(i: int) -> dict[str, Any]:
    return {
        "id": f"m{i}",
        "agent_id": "agent_1",
        "product_id": "BTC-USD",
        "regime": "bull",
        "state_vector": [float(i + 1), *[1.0] * (DIMENSION - 1)],
    }


QUESTION = {"agent_id": "agent_1", "state_vector": [1.0] * DIMENSION, "top_k": 1000}


def test_what_was_confirmed_is_there_after_sigkill(tmp_path: Path) -> None:
    with service_process(data_dir=tmp_path, dimension=DIMENSION) as service:
        redis_process = service.redis_process_id()
        with service.client() as client:
            for i in range(50):
                assert client.post("/v1/episodic", json=memory(i)).status_code == 201
            time.sleep(1.1)
            assert client.post("/v1/episodic", json=memory(50)).status_code == 201
        service.stop(signal.SIGKILL)

        # The second service takes the folder over while the first one's Redis may still close.
        with service_process(data_dir=tmp_path, dimension=DIMENSION) as again, again.client() as c:
            found = c.post("/v1/episodic/search", json=QUESTION).json()
            assert {f"m{i}" for i in range(50)} <= {m["id"] for m in found["memories"]}
            assert found["exact"]
            for i in range(50):
                assert c.get(f"/v1/episodic/agent_1/m{i}").status_code == 200
    assert wait_until_gone(redis_process)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_redis_never_stays_behind(tmp_path: Path, how: signal.Signals) -> None:
    with service_process(data_dir=tmp_path, dimension=DIMENSION) as service:
        redis_process = service.redis_process_id()
        assert is_running(redis_process)
        service.stop(how)
        assert wait_until_gone(redis_process)


def test_redis_ends_when_its_guard_is_killed(tmp_path: Path) -> None:
    with service_process(data_dir=tmp_path, dimension=DIMENSION) as service:
        redis_process = service.redis_process_id()
        status = Path(f"/proc/{redis_process}/stat").read_text()
        guard = int(status.rpartition(")")[2].split()[1])
        os.kill(guard, signal.SIGKILL)
        assert wait_until_gone(redis_process)


def test_second_service_on_the_folder_is_refused(tmp_path: Path) -> None:
    with service_process(data_dir=tmp_path, dimension=DIMENSION) as service:
        refused = run_serve(data_dir=tmp_path, dimension=DIMENSION)
        assert refused.returncode != 0
        assert "is in use by another service" in refused.stderr
        assert "MEMORY_DATA_DIR" in refused.stderr
        assert "Traceback" not in refused.stderr
        with service.client() as client:
            assert client.get("/readyz").status_code == 200


def test_unknown_setting_is_one_sentence(tmp_path: Path) -> None:
    refused = run_serve(data_dir=tmp_path, dimensions=3)
    assert refused.returncode == 1
    assert refused.stderr.startswith("Unknown setting MEMORY_DIMENSIONS: ")
    assert refused.stderr.count("\n") == 1


def test_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = run_serve(data_dir=tmp_path / "file" / "folder")
    assert refused.returncode != 0
    assert "cannot be used" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_unreachable_redis_is_one_sentence() -> None:
    refused = run_serve(redis_url="redis://:hush@127.0.0.1:1")
    assert refused.returncode != 0
    assert "Redis cannot be reached" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "hush" not in refused.stderr


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis://127.0.0.1:1/3", "sees only database 0"),
        ("redis://127.0.0.1:abc", "is not a Redis address"),
    ],
)
def test_address_that_cannot_work_is_one_sentence(url: str, sentence: str) -> None:
    refused = run_serve(redis_url=url)
    assert refused.returncode != 0
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr


def test_long_data_folder_works(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    with service_process(data_dir=folder, dimension=DIMENSION) as service, service.client() as c:
        assert c.post("/v1/episodic", json=memory(1)).status_code == 201


@pytest.mark.parametrize("max_file_bytes", [0, 200, 2000], ids=["lock", "log", "files of Redis"])
def test_a_full_disk_at_the_start_is_a_sentence(tmp_path: Path, max_file_bytes: int) -> None:
    ended = run_serve(data_dir=tmp_path, max_file_bytes=max_file_bytes)
    said = ended.stderr + ended.stdout
    assert ended.returncode != 0
    assert f"cannot keep its files in {tmp_path}" in said
    assert "free disk space" in said
    assert "Traceback" not in said


def test_workers_without_a_temporary_folder_are_a_sentence(tmp_path: Path) -> None:
    ended = run_serve(data_dir=tmp_path, workers=2, max_file_bytes=0)
    assert ended.returncode != 0
    assert "set TMPDIR to a folder with room" in ended.stderr
    assert "Traceback" not in ended.stderr
