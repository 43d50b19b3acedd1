"""Against a service that asks for keys: the load test, the lean client and the demo send theirs."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app.auth.key_store import FileKeyStore
from app.settings import Settings
from bench.bodies import SEARCH
from bench.http_client import ConnectionPool, post_request
from bench.paths import REPOSITORY
from demo.__main__ import run
from demo.arguments import parse_arguments
from demo.client_key import VARIABLE, key_headers
from demo.market import DIMENSION, market_windows
from demo.plan import plan
from demo.service import NoServiceError
from tests.auth.keyed_service import made_key, with_keys
from tests.conftest import running_service
from tests.demo.synthetic import random_market
from tests.kit.service_process import environment, service_process

NOT_RUN = 2


def locust(url: str, samples: Path, **settings: str) -> tuple[int, str]:
    words = ["-u", "1", "-r", "1", "--dimension", "16", "--memories", "40", "--queries", "25"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "locust", "-f", "loadtest/", "--headless", "--host", url),
            *("--samples", str(samples), *words, "SingleAgent"),
        ],
        cwd=REPOSITORY,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


async def test_a_load_test_needs_the_key_and_keeps_it_to_itself(tmp_path: Path) -> None:
    file, samples = tmp_path / "keys", tmp_path / "samples.json"
    key, _ = await made_key(FileKeyStore(file), "write")
    with service_process(data_dir=tmp_path / "data", dimension=16, api_keys_file=file) as service:
        status, said = locust(service.url, samples)
        assert (status, "key_missing" in said) == (NOT_RUN, True)
        status, said = locust(service.url, samples, api_key=key)
        assert status == 0, said
    assert key not in said + samples.read_text()


async def test_demo_and_lean_client_send_the_key(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed = with_keys(settings, tmp_path, dimension=DIMENSION)
    assert keyed.api_keys_file is not None
    key, _ = await made_key(FileKeyStore(keyed.api_keys_file), "write")
    todo = plan(market_windows(random_market(days=960, products=2)), years=(2001, 2002))
    async with running_service(keyed) as api:
        url = str(api.base_url).rstrip("/")
        arguments = parse_arguments(["--url", url])
        pool = ConnectionPool(url)
        assert key_headers() == {}
        with pytest.raises(NoServiceError, match="set MEMORY_API_KEY"):
            await run(todo, arguments)
        assert await run(todo, parse_arguments(["--url", url, "--yes"])) == 1
        assert (
            await pool.send(post_request(url, SEARCH, b"{}"))
        ).status == httpx.codes.UNAUTHORIZED
        monkeypatch.setenv(VARIABLE, key)
        assert await run(todo, arguments) == 0
        refused = await pool.send(post_request(url, SEARCH, b"{}"))
        assert refused.status == httpx.codes.UNPROCESSABLE_ENTITY
        pool.close()


def test_the_service_passes_over_its_clients_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one shell both may be started."""
    from app.settings import load_settings

    monkeypatch.setenv(VARIABLE, "cm_x")
    assert "cm_x" not in repr(load_settings())
