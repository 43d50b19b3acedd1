"""The Helm chart without Helm; `make helm` renders it and checks the rest."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import ENV_PREFIX, Settings
from tests.deploy.nodes import REPOSITORY

CHART = REPOSITORY / "deploy/helm"
TEMPLATES = {path.name: path.read_text() for path in (CHART / "templates").iterdir()}
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())


def fits(values: dict[str, Any], folder: Path) -> bool:
    (folder / "values.json").write_text(json.dumps(values))
    schema = str(CHART / "values.schema.json")
    words = ("check_jsonschema", "--schemafile", schema, str(folder / "values.json"))
    ended = subprocess.run([sys.executable, "-m", *words], check=False, capture_output=True)
    return ended.returncode == 0


def test_the_default_values_fit_their_schema(tmp_path: Path) -> None:
    assert fits(VALUES, tmp_path)
    assert not fits(VALUES | {"replica": 3}, tmp_path)


def test_each_value_is_in_the_schema_and_used_by_a_template() -> None:
    assert set(SCHEMA["properties"]) - {"global"} == set(VALUES)
    text = "\n".join(TEMPLATES.values())
    for name in VALUES:
        assert f".Values.{name}" in text, name
    redis = SCHEMA["properties"]["redis"]["properties"]
    assert set(redis) == set(VALUES["redis"])
    assert set(redis["external"]["properties"]) == set(VALUES["redis"]["external"])


def test_it_names_only_settings_that_exist() -> None:
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
    texts = [*TEMPLATES.values(), (CHART / "values.yaml").read_text(), json.dumps(SCHEMA)]
    named = set(re.findall(r"MEMORY_[A-Z][A-Z_]*[A-Z]", "\n".join(texts)))
    assert len(named) > 8
    assert named <= known


def test_it_has_the_repository_s_own_alerts_and_redis_configuration() -> None:
    """By links, which Helm follows."""
    assert (CHART / "files/alerts.yml").resolve() == REPOSITORY / "deploy/prometheus/alerts.yml"
    assert (CHART / "files/redis").resolve() == REPOSITORY / "redis"
    used = set(re.findall(r'"([\w.-]+\.(?:conf|sh))"', TEMPLATES["redis.yaml"]))
    there = {path.name for path in (REPOSITORY / "redis").iterdir()} - {"README.md", "service.acl"}
    assert used == there


def test_the_configuration_is_that_of_compose() -> None:
    compose = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
    assert compose["services"]["redis-master"]["image"] == VALUES["redis"]["image"]
    for name in ("replica.conf", "sentinel.conf"):
        text = (REPOSITORY / "redis" / name).read_text()
        assert text.count("redis-master") == 1, "the chart puts the group's first node there"


@pytest.mark.parametrize("probe", ["readinessProbe", "livenessProbe"])
def test_a_redis_that_is_away_takes_no_pod_out_of_service(probe: str) -> None:
    after = TEMPLATES["deployment.yaml"].partition(f"{probe}:")[2]
    assert "path: /livez" in after.splitlines()[1]
