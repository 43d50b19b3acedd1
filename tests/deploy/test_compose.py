"""compose.yaml and the Dockerfile, as far as they can be judged without a container engine."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.auth.key_store import FileKeyStore
from app.settings import Settings
from demo.client_key import VARIABLE
from tests.auth.keyed_service import made_key
from tests.deploy.nodes import MASTER, MOUNT_POINT, REPLICAS, REPOSITORY
from tests.kit.service_process import NO_TLS, service_process

COMPOSE = REPOSITORY / "compose.yaml"
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
NODES = (MASTER, *REPLICAS)
OTHER_GROUPS = ("redis-b", "redis-c")
SENTINELS = ("sentinel-1", "sentinel-2", "sentinel-3")
FINAL_STAGE = DOCKERFILE.rpartition("\nFROM ")[2]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file with its anchors resolved and its variables as they are."""
    document: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return document


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    """Its services by name."""
    found: dict[str, Any] = compose["services"]
    return found


def test_it_fits_the_compose_specification() -> None:
    _check_schema(COMPOSE)


def test_the_schema_check_finds_a_mistake(tmp_path: Path) -> None:
    broken = tmp_path / "compose.yaml"
    broken.write_text(COMPOSE.read_text().replace("restart: unless-stopped", "restarts: always"))
    with pytest.raises(subprocess.CalledProcessError):
        _check_schema(broken)


def _check_schema(path: Path) -> None:
    words = ("check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path))
    subprocess.run([sys.executable, "-m", *words], check=True, capture_output=True)


def test_each_profile_is_what_it_says(services: dict[str, Any]) -> None:
    by_profile: dict[str, set[str]] = {}
    for name, service in services.items():
        for profile in service.get("profiles", [""]):
            by_profile.setdefault(profile, set()).add(name)
    assert by_profile == {
        "": {*NODES, "memory"},
        "observability": {"prometheus", "grafana"},
        "sentinel": set(SENTINELS),
        "groups": set(OTHER_GROUPS),
        "loadtest": {"loadtest"},
    }


def test_only_the_service_can_be_opened_to_the_world(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {
        "memory": ["${SERVICE_BIND:-127.0.0.1}:${SERVICE_PORT:-8000}:8000"],
        "grafana": ["127.0.0.1:${GRAFANA_PORT:-3000}:3000"],
    }
    assert not [n for n, service in services.items() if service.get("network_mode")]


def test_redis_is_reached_by_the_service_alone(compose: dict[str, Any]) -> None:
    assert compose["networks"]["redis"] == {"internal": True}
    inside = {n for n, service in compose["services"].items() if "redis" in service["networks"]}
    assert inside == {*NODES, *OTHER_GROUPS, *SENTINELS, "memory"}


def test_images_are_pinned_to_a_minor_version(services: dict[str, Any]) -> None:
    images = {service["image"] for service in services.values() if "build" not in service}
    images |= set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
    for image in images:
        assert re.search(r":v?\d+\.\d+", image), image
    assert {services[name]["image"] for name in (*NODES, *OTHER_GROUPS, *SENTINELS)} == {
        "redis:8.10"
    }


@pytest.mark.parametrize("name", [*NODES, *OTHER_GROUPS, *SENTINELS])
def test_a_node_starts_through_the_entrypoint_that_loads_the_engine(
    services: dict[str, Any], name: str
) -> None:
    service = services[name]
    shell, script, conf = service["command"]
    assert shell == "sh"
    assert "entrypoint" not in service
    assert f"./redis:{MOUNT_POINT.rstrip('/')}:ro" in service["volumes"]
    for path in (script, conf):
        assert (REPOSITORY / "redis" / path.removeprefix(MOUNT_POINT)).is_file()
    started = (REPOSITORY / "redis" / script.removeprefix(MOUNT_POINT)).read_text()
    assert re.search(r"^exec docker-entrypoint\.sh redis-(server|sentinel) ", started, re.MULTILINE)
    expected = dict.fromkeys((MASTER, *OTHER_GROUPS), "redis.conf")
    expected |= dict.fromkeys(REPLICAS, "replica.conf")
    assert conf == MOUNT_POINT + expected.get(name, "sentinel.conf")


@pytest.mark.parametrize("name", NODES)
def test_a_node_is_healthy_only_with_its_engine(services: dict[str, Any], name: str) -> None:
    (kind, check) = services[name]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    assert check.endswith("redis-cli --raw MODULE LIST | grep -qx search")


def test_a_node_knows_its_own_name(services: dict[str, Any]) -> None:
    for name in NODES:
        assert services[name]["environment"]["REDIS_NODE_NAME"] == name
    for name in SENTINELS:
        assert services[name]["environment"]["SENTINEL_NAME"] == name


def test_name_of_a_stopped_container_is_refused_at_once(services: dict[str, Any]) -> None:
    """What that is for: test_names.py."""
    for name in (*NODES, *OTHER_GROUPS, *SENTINELS, "memory"):
        assert services[name]["dns_opt"] == ["ndots:1"], name
        assert services[name]["dns_search"] == ["."], name


def test_data_is_in_named_volumes_of_each_node(compose: dict[str, Any]) -> None:
    used = []
    for name in (*NODES, *OTHER_GROUPS, *SENTINELS, "prometheus", "grafana"):
        named = [v for v in compose["services"][name]["volumes"] if not v.startswith("./")]
        assert named[0].startswith(f"{name}-data:"), name
        used += [v.partition(":")[0] for v in named]
    assert sorted(used) == sorted(compose["volumes"])


def test_everything_mounted_is_there(services: dict[str, Any]) -> None:
    sources = {
        v.partition(":")[0]
        for service in services.values()
        for v in service.get("volumes", ())
        if v.startswith("./")
    }
    # ./loadtest comes with the load test itself.
    for source in sources - {"./loadtest"}:
        assert (REPOSITORY / source).exists(), source


def test_every_service_restarts_is_watched_and_unprivileged(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"]["max-size"], name
        if name == "loadtest":
            continue
        assert service["restart"] == "unless-stopped", name
        in_image = name == "memory" and "HEALTHCHECK" in FINAL_STAGE
        assert in_image or service["healthcheck"]["test"], name


def test_no_password_is_written_down(compose: dict[str, Any]) -> None:
    assert compose["secrets"] == {
        "redis_password": {"environment": "REDIS_PASSWORD"},
        "grafana_password": {"environment": "GRAFANA_PASSWORD"},
    }
    texts = [COMPOSE, *(REPOSITORY / "redis").iterdir(), *(REPOSITORY / "deploy").rglob("*.yml")]
    for path in texts:
        for line in path.read_text().splitlines():
            assert not re.search(r"redis://[^$\s]*:[^$\s@]+@", line), path
            assert not re.match(r"\s*(requirepass|masterauth)\b", line), path
            assert not re.search(r"password: *[\"']?\w", line, re.IGNORECASE), path


def test_the_service_is_given_settings_that_exist(services: dict[str, Any]) -> None:
    known = {f"MEMORY_{name}".upper() for name in Settings.model_fields}
    given = set(services["memory"]["environment"]) | set(re.findall(r"MEMORY_\w+(?==)", DOCKERFILE))
    assert {"MEMORY_HOST", "MEMORY_PORT", "MEMORY_REDIS_URL", "MEMORY_REPLICA_URLS"} <= given
    assert given <= known


def test_the_service_is_given_each_node(services: dict[str, Any]) -> None:
    environment = services["memory"]["environment"]
    address = r"redis://:\$\{REDIS_PASSWORD[^}]*\}@\$\{\w+:-([\w-]+)\}:6379/0"
    replicas = _default(environment["MEMORY_REPLICA_URLS"], "REDIS_REPLICA_URLS")
    urls = [_default(environment["MEMORY_REDIS_URL"], "REDIS_URL"), *replicas.split(",")]
    found = [re.fullmatch(address, url) for url in urls]
    assert [match and match[1] for match in found] == list(NODES)


def _default(text: str, variable: str) -> str:
    """What stands there while the variable is not set (set empty, it is empty)."""
    assert text.startswith(f"${{{variable}-"), text
    return text.removeprefix(f"${{{variable}-").removesuffix("}")


def test_the_image_runs_the_service_as_a_stranger_without_a_shell() -> None:
    assert re.search(r"^USER 10001$", FINAL_STAGE, re.MULTILINE)
    assert _exec_form("CMD", FINAL_STAGE) == ["python", "-m", "app", "serve"]
    assert "ENTRYPOINT" not in FINAL_STAGE
    assert "--require-hashes" in DOCKERFILE
    lock = (REPOSITORY / "requirements" / "service.txt").read_text()
    assert not re.search(r"falkordb|redis-stack", lock)


SMALL = """
import numba
function = numba.njit([numba.int64(numba.int64)], cache=True)(lambda number: number + 1)
"""
LOADED = """
import app.resident.loading as loading
loading.subprocess.run = lambda *_, **__: None
stats = loading.load_compiled("small").function.stats
assert stats.cache_hits and not stats.cache_misses, stats
"""


def test_the_image_holds_what_numba_compiles_and_a_container_uses_it(tmp_path: Path) -> None:
    for module in ("app.resident.kernel", "app.memory.estimates.compiled"):
        assert f"{module.replace('.', '/')}.py" in FINAL_STAGE
        assert re.search(rf"NUMBA_CACHE_DIR=/srv/compiled .*{module}", FINAL_STAGE)
    assert "NUMBA_CACHE_DIR=/tmp/numba" in FINAL_STAGE
    (tmp_path / "small.py").write_text(SMALL)
    loading = tmp_path / "app" / "resident" / "loading.py"
    loading.parent.mkdir(parents=True)
    shutil.copy(REPOSITORY / "app" / "resident" / "loading.py", loading)
    for program, folder in (("import small", "compiled"), (LOADED, "tmp/numba")):
        kept = {"NUMBA_CACHE_DIR": str(tmp_path / folder), "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=os.environ | kept, check=True
        )


def test_the_images_health_check_says_what_readyz_says() -> None:
    check = _exec_form("HEALTHCHECK .*? CMD", FINAL_STAGE)
    assert check[:2] == ["python", "-c"]
    for status, expected in ((200, 0), (503, 1), (None, 1)):
        assert _run_health_check(check[2], status) == expected, status


def _run_health_check(program: str, status: int | None) -> int:
    """Its exit status against a server that answers so; None: nothing listens."""
    from tests.deploy.answering_server import answering_server

    with answering_server(status) as (port, asked):
        ended = subprocess.run(
            [sys.executable, "-c", program],
            env={"MEMORY_PORT": str(port)},
            capture_output=True,
            check=False,
        )
        assert asked == ([] if status is None else ["/readyz"])
    return ended.returncode


def _exec_form(instruction: str, text: str) -> list[str]:
    joined = text.replace("\\\n", " ")
    found = re.search(rf"^{instruction} (\[.*\])$", joined, re.MULTILINE)
    assert found
    words: list[str] = json.loads(found[1])
    return words


def test_the_image_holds_nothing_but_what_it_copies() -> None:
    lines = [
        line
        for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = set(re.findall(r"^COPY (?!--from)(\S+)", DOCKERFILE, re.MULTILINE))
    assert copied == allowed


KEYS_FILE = REPOSITORY / "compose.keys-file.yaml"


async def test_keys_from_a_secret_are_asked_for(tmp_path: Path) -> None:
    """The service with the settings of the file, its secret where the test can put one."""
    _check_schema(KEYS_FILE)
    document = yaml.safe_load(KEYS_FILE.read_text())
    (service,) = document["services"].values()
    (secret,) = service["secrets"]
    assert document["services"].keys() == {"memory"}
    assert document["secrets"] == {secret: {"file": "${API_KEYS_FILE:?the file of the API keys}"}}
    place = f"/run/secrets/{secret}"
    assert service["environment"]["MEMORY_API_KEYS_FILE"] == place
    file = tmp_path / secret
    key, _ = await made_key(FileKeyStore(file), "read")
    given = {
        name.removeprefix("MEMORY_").lower(): value.replace(place, str(file))
        for name, value in service["environment"].items()
    }
    with service_process(**{"data_dir": tmp_path / "data", **given}) as running:
        async with httpx.AsyncClient(base_url=running.url, timeout=30, verify=NO_TLS) as client:
            for headers, status in (({}, 401), ({"Authorization": f"Bearer {key}"}, 404)):
                answer = await client.get("/v1/semantic/none", headers=headers)
                assert answer.status_code == status


def test_the_load_test_is_given_its_key(services: dict[str, Any]) -> None:
    assert services["loadtest"]["environment"] == {VARIABLE: "${MEMORY_API_KEY:-}"}
