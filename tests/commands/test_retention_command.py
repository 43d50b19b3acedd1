"""`python -m app retention` as its users run it."""

import time
from pathlib import Path
from typing import Any

from tests.commands.app_process import run_app
from tests.conftest import DIMENSION
from tests.kit.service_process import service_process

DAY_S = 86_400.0
BY_MARKET = ("--age-by", "timestamp")


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
        status, said = run_app("retention", **chosen)
        assert status == 0, said
        assert "Experiences: 0 would be removed (more than 90 days since they were stored)" in said
        status, said = run_app("retention", *BY_MARKET, "--episodic-max-age-days", "0.5", **chosen)
        assert "Warning: 1 agent loses every memory: a." in said

        status, said = run_app("retention", *BY_MARKET, **chosen)
        assert status == 0, said
        assert "Experiences: 2 would be removed (more than 90 days by market time)" in said
        assert "a older: 300.00 days old, more than 90" in said
        assert "repeat with --apply" in said
        assert client.get("/v1/episodic/a/old").status_code == 200

        words = ("--apply", *BY_MARKET, "--episodic-max-age-days", "250")
        _, said = run_app("retention", *words, **chosen)
        assert "Experiences: 1 removed (more than 250 days by market time)" in said
        assert client.get("/v1/episodic/a/older").status_code == 404
        assert client.get("/v1/episodic/a/old").status_code == 200
    status, said = run_app("retention", "--apply", *BY_MARKET, **chosen)
    assert status == 0, said
    assert "Experiences: 1 removed" in said
    with service_process(**chosen) as service, service.client() as client:
        assert client.get("/v1/episodic/a/old").status_code == 404
        assert client.get("/v1/episodic/a/new").status_code == 200


def test_a_mistake_is_one_sentence() -> None:
    status, said = run_app("retention", "--episodic-max-age-days", "-1")
    assert status == 1
    assert said.startswith("episodic_max_age_days: should be greater")
