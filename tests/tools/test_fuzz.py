"""A short run of what `make fuzz` does for longer, and the bounds on a request's head."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as trying

from app.api.http_errors import HeadInvalid, HeadTooLarge, HeadTooLate
from app.server.refusals import MAX_HEAD_BYTES
from app.settings import Settings
from tests.conftest import DIMENSION, running_service
from tests.kit.service_process import NO_TLS, service_process
from tools.fuzz import hostile_names
from tools.fuzz.openapi_run import fuzz_openapi
from tools.fuzz.raw_http import Attacker, attack, send

VECTOR = [1.0] * DIMENSION
SEED = 20_261_124
PIECE_BYTES = 4096


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("fuzz")
    with service_process(dimension=DIMENSION, data_dir=folder, embedded_replicas=1) as service:
        yield service.url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30, verify=NO_TLS) as client:
        hostile_names.store_bystander(client, VECTOR)
        yield client
        page = client.post("/v1/episodic/query", json={"agent_id": hostile_names.BYSTANDER}).json()
        assert [memory["id"] for memory in page["memories"]] == ["b"], "another agent was touched"


short = trying(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@short
@given(agent=hostile_names.agents, names=hostile_names.name_lists)
def test_a_name_matches_itself_and_nothing_else(
    client: httpx.Client, agent: str, names: list[str]
) -> None:
    assert hostile_names.check_experiences(client, agent, names, VECTOR) > 0


@short
@given(names=hostile_names.name_lists)
def test_a_regime_name_matches_itself_and_nothing_else(
    client: httpx.Client, names: list[str]
) -> None:
    assert hostile_names.check_concepts(client, names, VECTOR) > 0


def test_malformed_requests_get_4xx_and_harm_nothing(url: str, client: httpx.Client) -> None:
    statuses = attack(url, Attacker(SEED, DIMENSION), 600)
    assert statuses[400] > 0
    assert statuses[422] > 100
    assert client.get("/readyz").status_code == 200


@pytest.mark.timeout(300)
def test_the_service_keeps_what_its_document_promises(url: str, tmp_path: Path) -> None:
    run = fuzz_openapi(url, seconds=8, seed=SEED, folder=tmp_path)
    if run.cases <= 100:  # a busy machine
        run = fuzz_openapi(url, seconds=40, seed=SEED, folder=tmp_path)
    assert run.cases > 100, run.report
    assert run.is_clean, run.report


def test_a_head_that_is_too_large_is_cut_off(url: str) -> None:
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port), 20) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ")
        for _ in range(MAX_HEAD_BYTES // PIECE_BYTES + 1):  # read piece by piece, so not reset
            connection.sendall(b"y" * PIECE_BYTES)
            time.sleep(0.01)
        assert f" {HeadTooLarge.status} ".encode() in connection.recv(1000)


def test_what_is_no_http_gets_a_problem(url: str) -> None:
    assert send(url, b"\x16\x03\x01 no http\r\n\r\n") == HeadInvalid.status


@pytest.fixture
async def impatient(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A service that waits for a head for a fifth of a second."""
    hasty = settings.model_copy(update={"head_timeout_s": 0.2})
    async with running_service(hasty) as client:
        yield client


async def test_slow_heads_are_given_up_and_others_served(impatient: httpx.AsyncClient) -> None:
    address = (impatient.base_url.host, impatient.base_url.port)
    slow = [socket.create_connection(address, 20) for _ in range(50)]
    try:
        for connection in slow[::2]:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost:")
        assert (await impatient.get("/livez")).status_code == 200
        answers = [await _read_all(connection) for connection in slow]
        assert all(f" {HeadTooLate.status} ".encode() in answer for answer in answers[::2])
        assert not any(answers[1::2]), "a connection that never said anything is closed"
        assert (await impatient.get("/livez")).status_code == 200
    finally:
        for connection in slow:
            connection.close()


async def test_a_slow_body_ends_with_its_deadline(api: httpx.AsyncClient) -> None:
    address = (api.base_url.host, api.base_url.port)
    with socket.create_connection(address, 20) as connection:
        head = b"POST /v1/episodic HTTP/1.1\r\nHost: localhost\r\nX-Deadline-Ms: 200\r\n"
        connection.sendall(head + b"Content-Length: 500\r\nConnection: close\r\n\r\n{")
        assert b'"deadline_exceeded"' in await _read_all(connection)


@pytest.mark.parametrize("path", ["/v1/episodic", "/v1/episodic/search"])
async def test_a_caller_that_leaves_within_its_body_is_no_error_of_the_service(
    path: str, api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "app.api.middleware")
    address = (api.base_url.host, api.base_url.port)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{{".encode()
    with socket.create_connection(address, 20) as connection:
        connection.sendall(head)
        await asyncio.sleep(0.1)
    async with asyncio.timeout(60):
        while "499" not in [str(getattr(r, "status", "")) for r in caplog.records]:
            await asyncio.sleep(0.02)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def _read_all(connection: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    connection.setblocking(False)
    received = b""
    while part := await loop.sock_recv(connection, 65_536):
        received += part
    return received
