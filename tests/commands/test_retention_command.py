"""`python -m app retention` as its users run it."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DIMENSION
from tests.service_process import REPOSITORY, environment, service_process

DAY_S = 86_400.0


def retention(*words: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", "retention", *words],
        cwd=REPOSITORY,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def experience(memory_id: str, age_days: float) -> dict[str, Any]:
    return {
        "id": memory_id,
        "agent_id": "a",
        "product_id": "p",
        "regime": "r",
        "state_vector": [1.0] * DIMENSION,
        "timestamp": time.time() - age_days * DAY_S,
    }


def test_beside_a_service_and_without_one(tmp_path: Path) -> None:
    chosen = {"data_dir": tmp_path, "dimension": DIMENSION}
    with service_process(**chosen) as service, service.client() as client:
        for memory_id, age_days in (("old", 200), ("older", 300), ("new", 1)):
            client.post("/v1/episodic", json=experience(memory_id, age_days))
        locked = retention(**chosen, port=8123)
        assert locked.returncode == 1
        assert "Or let that service do it: --url http://127.0.0.1:8123" in locked.stderr

        said = retention("--url", service.url)
        assert said.returncode == 0, said.stderr
        assert "Experiences: 2 would be removed (more than 90 days old)" in said.stdout
        assert "a older: 300.00 days old, more than 90" in said.stdout
        assert "repeat with --apply" in said.stdout
        assert client.get("/v1/episodic/a/old").status_code == 200

        done = retention("--url", service.url, "--apply", "--episodic-max-age-days", "250")
        assert "Experiences: 1 removed (more than 250 days old)" in done.stdout
        assert client.get("/v1/episodic/a/older").status_code == 404
        assert client.get("/v1/episodic/a/old").status_code == 200
    alone = retention("--apply", **chosen)
    assert alone.returncode == 0, alone.stderr
    assert "Experiences: 1 removed" in alone.stdout
    with service_process(**chosen) as service, service.client() as client:
        assert client.get("/v1/episodic/a/old").status_code == 404
        assert client.get("/v1/episodic/a/new").status_code == 200


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--url", "http://127.0.0.1:1"), "No service answers at http://127.0.0.1:1"),
        (("--url", "file:///etc/passwd"), "--url must begin with http"),
        (("--episodic-max-age-days", "-1"), "episodic_max_age_days: should be greater"),
    ],
)
def test_mistakes_are_one_sentence(words: tuple[str, ...], sentence: str) -> None:
    refused = retention(*words)
    assert refused.returncode == 1
    assert refused.stderr.startswith(sentence)
    assert refused.stderr.count("\n") == 1
