"""A service without free descriptors goes on, and so do its jobs once there are some again."""

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import DIMENSION
from tests.kit.service_process import NO_TLS, logged_service_process

WAIT_S = 60.0
WATCH = "looking for cut files"
MEMORY = {"agent_id": "a", "product_id": "p", "regime": "r", "state_vector": [1.0] * DIMENSION}


def open_descriptors(process_id: int) -> int:
    return max(int(entry.name) for entry in Path(f"/proc/{process_id}/fd").iterdir()) + 1


def until(condition: Callable[[], Any]) -> Any:
    give_up_at = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    return found


def test_jobs_outlive_a_moment_without_free_descriptors(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        logged_service_process(log, data_dir=tmp_path / "data", dimension=DIMENSION) as service,
        service.client() as kept,
    ):
        process_id = service.process.pid

        def job() -> dict[str, Any]:
            """What the service says of the watch, on a connection that it has."""
            told: dict[str, Any] = kept.get("/readyz").json()["parts"]["jobs"]["jobs"][WATCH]
            return told

        assert kept.post("/v1/episodic", json=MEMORY | {"id": "before"}).status_code == 201
        until(lambda: job()["status"] == "ok")
        before = resource.prlimit(process_id, resource.RLIMIT_NOFILE)
        scarce = open_descriptors(process_id)
        resource.prlimit(process_id, resource.RLIMIT_NOFILE, (scarce, before[1]))
        failing = until(lambda: (told := job())["status"] == "degraded" and told)
        assert "Too many open files" in failing["detail"]
        # What needs no further descriptor goes on.
        assert kept.post("/v1/episodic", json=MEMORY | {"id": "meanwhile"}).status_code == 201
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{service.url}/livez", timeout=1, verify=NO_TLS)
        resource.prlimit(process_id, resource.RLIMIT_NOFILE, before)
        until(lambda: job()["status"] == "ok")
        assert httpx.get(f"{service.url}/livez", timeout=30, verify=NO_TLS).status_code == 200
        asked = {"agent_id": "a", "state_vector": MEMORY["state_vector"]}
        assert kept.post("/v1/episodic/search", json=asked).json()["count"] == 2
        assert service.stop() == 0
    assert "a background task has ended" not in log.read_text()
