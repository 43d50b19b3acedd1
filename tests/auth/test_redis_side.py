"""The service's way to Redis: a user with few rights, TLS, and no secret in anything it says."""

import asyncio
import re
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import NoPermissionError, RedisError

from app.embedded import EmbeddedNode
from app.embedded.files import find_binaries
from app.embedded.node import free_port
from app.errors import ConfigurationError
from app.nodes.client import create_redis, execute
from app.settings import Settings
from tests.auth.keyed_service import KeyedService, keyed_service, memory, with_keys
from tests.conftest import running_service
from tests.kit.service_process import REPOSITORY

SECRET = "recognisable-secret-5ec2e7"
FORBIDDEN = [
    *("FLUSHALL", "FLUSHDB", "KEYS *", "SHUTDOWN", "ACL LIST"),
    *("CONFIG SET dir /tmp", "REPLICAOF NO ONE", "SWAPDB 0 1", "SAVE", "SLOWLOG RESET"),
    *("CLIENT KILL ID 1", "GET other", "SET other x", "HSET {api_keys}:records a b", "MONITOR"),
    *("PUBLISH other x", "MIGRATE 127.0.0.1 1 x 0 1", "CLIENT LIST", "DEL {api_keys}:records"),
]


@asynccontextmanager
async def restricted(redis: Redis, node: EmbeddedNode) -> AsyncIterator[str]:
    """The address for the users of redis/service.acl."""
    users = []
    for line in (REPOSITORY / "redis/service.acl").read_text().splitlines():
        if line.startswith("user "):
            _, name, *rules = line.replace("PASSWORD", SECRET).split()
            await execute(redis, "ACL", "SETUSER", name, "reset", *rules)
            users.append(name)
    assert users == ["memory", "keys-admin"]
    yield f"redis://memory:{SECRET}@127.0.0.1:{node.port}"
    await execute(redis, "ACL", "DELUSER", *users)


async def test_the_users_load_as_an_acl_file(tmp_path: Path) -> None:
    """As redis/README.md says: a file of users has no comments, and Redis ends at a wrong line."""
    users = (REPOSITORY / "redis/service.acl").read_text().replace("PASSWORD", SECRET)
    (tmp_path / "users.acl").write_text(users)
    binaries, port = find_binaries(), free_port()
    command = [str(binaries.server), "--port", str(port), "--aclfile", "users.acl"]
    command += ["--bind", "127.0.0.1", "--save", "", "--loadmodule", str(binaries.engine)]
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, stdout=log, stderr=log
        )
    try:
        url = f"redis://memory:{SECRET}@127.0.0.1:{port}"
        async with Redis.from_url(url, retry=Retry(ConstantBackoff(0.05), 100)) as client:
            assert await execute(client, "FT._LIST") == []
            with pytest.raises(NoPermissionError):
                await execute(client, "FLUSHALL")
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 60)
    assert process.returncode == 0, (tmp_path / "log").read_text()


async def _beginning(answer: httpx.Response) -> str:
    """Returns the whole answer, or what a stream of events, which has no end, says first."""
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        return (await answer.aread()).decode(errors="replace")
    return await anext(answer.aiter_text())


async def test_every_route_works_with_the_few_rights(
    settings: Settings, redis: Redis, redis_node: EmbeddedNode
) -> None:
    async with restricted(redis, redis_node) as url:
        narrow = settings.model_copy(
            update={
                "redis_url": Settings(redis_url=url).redis_url,
                "limit_agent_requests_per_s": 10_000,
                "slowlog_slower_than_us": -1,
            }
        )
        async with running_service(narrow) as api:
            document = (await api.get("/openapi.json")).json()
            await api.post("/v1/episodic", json=memory("x", "x"))
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    body = operation.get("requestBody")
                    content = body and body["content"]["application/json"]["example"]
                    url_path = re.sub(r"\{.*?\}", "x", path)
                    async with api.stream(method, url_path, json=content) as answer:
                        text = await _beginning(answer)
                    assert answer.status_code < 500, (method, path, text)
                    assert '"storage_failed"' not in text, (method, path)
            assert (await api.get("/readyz")).json()["status"] == "ok"
            removed = {"agent_id": "x", "dry_run": False}
            assert (await api.post("/v1/episodic/delete", json=removed)).status_code == 200
        client = Redis.from_url(url)
        for words in FORBIDDEN:
            with pytest.raises(NoPermissionError):
                await execute(client, *words.split())
        await client.aclose()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and certificates of it for the server 127.0.0.1 and for a client."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority")
    for name in ("server", "client"):
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1"]
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}"]
        openssl("req", "-x509", *new, *signed, *files)
    return folder


@asynccontextmanager
async def behind_tls(node: EmbeddedNode, folder: Path, cert: str = "server") -> AsyncIterator[int]:
    """The packaged redis-server is built without TLS: a proxy before it speaks TLS, and asks for a
    client's certificate; yields its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{cert}.pem", folder / f"{cert}.key")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    tasks: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        except (OSError, ssl.SSLError):
            return
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", node.port)
        for way in (copy(reader, back), copy(there, writer)):
            task = asyncio.create_task(way)
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for task in list(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0.1)  # the transports close in turns of their own


def over_tls(
    settings: Settings, port: int, folder: Path, host: str = "127.0.0.1", **update: object
) -> Settings:
    own = {
        "redis_url": Settings(redis_url=f"rediss://{host}:{port}").redis_url,
        "redis_tls_ca_file": folder / "ca.pem",
        "redis_tls_cert_file": folder / "client.pem",
        "redis_tls_key_file": folder / "client.key",
    }
    return settings.model_copy(update=own | update)


async def test_redis_over_tls_with_a_clients_certificate(
    settings: Settings, redis_node: EmbeddedNode, certificates: Path
) -> None:
    async with behind_tls(redis_node, certificates) as port:
        async with running_service(over_tls(settings, port, certificates)) as api:
            assert (await api.post("/v1/episodic", json=memory("one", "m"))).status_code == 201
        for update in (
            {"redis_tls_ca_file": None},
            {"redis_tls_cert_file": None, "redis_tls_key_file": None},
            {"redis_tls_ca_file": certificates / "missing.pem"},
        ):
            with pytest.raises((RedisError, ConfigurationError)):
                await ping(over_tls(settings, port, certificates, **update))
        await ping(over_tls(settings, port, certificates))
        with pytest.raises(RedisError):  # not the name in the certificate
            await ping(over_tls(settings, port, certificates, host="localhost"))


async def ping(settings: Settings) -> None:
    assert settings.redis_url is not None
    url = settings.redis_url.get_secret_value()
    client = create_redis(url, client_name="test", settings=settings)
    try:
        await execute(client, "PING")
    finally:
        await client.aclose()


async def test_no_secret_in_anything_that_is_told(
    settings: Settings,
    redis: Redis,
    redis_node: EmbeddedNode,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    async with restricted(redis, redis_node) as url:
        configured = with_keys(
            settings,
            tmp_path,
            redis_url=Settings(redis_url=url).redis_url,
            slowlog_slower_than_us=0,
            audit_file=tmp_path / "audit.log",
        )
        told = [repr(configured), str(configured)]
        async with keyed_service(configured) as service:
            admin = await service.caller("admin")
            key = admin.headers["authorization"].partition(" ")[2]
            told += await everything_told(service, admin, key)
            await execute(redis, "ACL", "SETUSER", "memory", "off")
            await execute(redis, "CLIENT", "KILL", "USER", "memory")
            for _ in range(3):
                told.append((await admin.post("/v1/episodic", json=memory("one", "n"))).text)
                told.append((await admin.get("/readyz")).text)
    told += [record.getMessage() + str(vars(record)) for record in caplog.records]
    told += [(tmp_path / "audit.log").read_text(), (tmp_path / "keys").read_text()]
    everything = "\n".join(told)
    assert "storage" in everything
    assert SECRET not in everything
    assert key.rpartition("_")[2] not in everything


async def everything_told(service: KeyedService, admin: httpx.AsyncClient, key: str) -> list[str]:
    answers = [
        await admin.post("/v1/episodic", json=memory("one", "m")),
        await admin.delete("/v1/episodic/one/m"),
        *[await admin.get(f"/v1/{path}") for path in ("stats", "slow-queries?limit=1000")],
        *[await admin.get(f"/{path}") for path in ("metrics", "readyz", "openapi.json", "nothing")],
        await admin.post("/v1/episodic", content=b'{"agent_id": 1'),
        await service.anonymous.get("/v1/stats", headers={"Authorization": f"Basic {key}"}),
        await service.anonymous.get("/v1/stats", headers={"Authorization": f"Bearer {key}x"}),
    ]
    return [answer.text + str(answer.headers) for answer in answers]
