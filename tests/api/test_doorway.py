"""Which requests are for this service, and what their bodies may be."""

import codecs
import json
from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx
import orjson
import pytest
from redis.asyncio import Redis

from app.settings import Settings
from tests.api.raw_connection import answer_to
from tests.conftest import DIMENSION, running_service

VECTOR = [1.0, *[0.0] * (DIMENSION - 1)]
MEMORY = {
    "agent_id": "a",
    "id": "1",
    "product_id": "p",
    "regime": "é",
    "state_vector": VECTOR,
}
BODY = orjson.dumps(MEMORY)


@pytest.fixture
async def open_to_all(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A service that asks for keys."""
    async with running_service(settings.model_copy(update={"auth": "redis"})) as client:
        yield client


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil", ""]
)
async def test_a_foreign_host_is_refused(api: httpx.AsyncClient, host: str) -> None:
    for path in ("/v1/stats", "/v1/stats/", "/docs", "/typo"):
        answer = await api.get(path, headers={"Host": host})
        assert (answer.status_code, answer.json()["code"]) == (421, "host_unknown")
        assert "evil" not in str(answer.headers) + answer.text


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8000", "127.8.0.1"]
)
async def test_own_hosts_are_served(api: httpx.AsyncClient, host: str) -> None:
    assert (await api.get("/v1/stats", headers={"Host": host})).is_success


async def test_allowed_hosts_are_a_setting(settings: Settings) -> None:
    named = settings.model_copy(update={"allowed_hosts": ("Memory.Example",)})
    async with running_service(named) as client:
        for host, status in (("memory.example:80", 200), ("localhost", 200), ("other", 421)):
            assert (await client.get("/livez", headers={"Host": host})).status_code == status
    async with running_service(settings.model_copy(update={"allowed_hosts": ("*",)})) as client:
        assert (await client.get("/livez", headers={"Host": "other"})).is_success


async def test_with_keys_any_host_will_do(open_to_all: httpx.AsyncClient) -> None:
    headers = {"Host": "memory.example", "Sec-Fetch-Site": "cross-site"}
    assert (await open_to_all.get("/livez", headers=headers)).is_success
    assert (await open_to_all.get("/v1/stats", headers=headers)).status_code == 401


async def test_redirects_do_not_name_a_host(settings: Settings) -> None:
    async with running_service(settings.model_copy(update={"allowed_hosts": ("*",)})) as client:
        for path, there in (("/v1/stats/?limit=1", "/v1/stats?limit=1"), ("/", "/console/")):
            answer = await client.get(path, headers={"Host": "evil.example"})
            assert (answer.status_code, answer.headers["location"]) == (307, there)


async def test_a_page_of_another_site_changes_nothing(api: httpx.AsyncClient, redis: Redis) -> None:
    for headers in (
        {"Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Origin": "http://evil.example"},  # a Blob without a type
        {"Sec-Fetch-Site": "same-site"},
    ):
        for path in ("/v1/episodic", "/v1/episodic/delete", "/v1/semantic", "/v1/retention"):
            answer = await api.post(path, content=BODY, headers=headers)
            assert answer.status_code in (403, 415), (headers, path, answer.text)
    assert await redis.dbsize() == 0


async def test_a_link_leads_to_the_docs_page(api: httpx.AsyncClient) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert (await api.get("/docs", headers=headers)).is_success
    assert (await api.get("/docs", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ({"Content-Type": "text/xml"}, "text/xml"),
        ({"Content-Type": "application/json; charset=utf-16"}, "utf-16"),
        ({"Content-Type": 'application/json; charset="latin-1"'}, "latin-1"),
        ({"Content-Encoding": "gzip"}, "gzip"),
        ({"Content-Encoding": "br", "Content-Type": "application/json"}, "br"),
    ],
)
async def test_other_encodings_are_415_with_the_reason(
    api: httpx.AsyncClient, headers: dict[str, str], word: str
) -> None:
    for path in ("/v1/episodic", "/v1/episodic/search", "/v1/semantic/search"):
        answer = await api.post(path, content=BODY, headers=headers)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (415, "unsupported_media_type")
        assert word in problem["detail"]
        assert answer.headers["accept"] == "application/json"


@pytest.mark.parametrize(
    "kind",
    [
        "application/json; charset=utf-8",
        'APPLICATION/JSON;charset="UTF-8"',
        "application/ld+json",
        "application/json; profile=x",
    ],
)
async def test_json_by_other_spellings_is_read(api: httpx.AsyncClient, kind: str) -> None:
    answer = await api.post("/v1/episodic", content=BODY, headers={"Content-Type": kind})
    assert answer.status_code == 201, answer.text


async def test_a_byte_order_mark_is_read(api: httpx.AsyncClient) -> None:
    assert (await api.post("/v1/episodic", content=codecs.BOM_UTF8 + BODY)).status_code == 201
    assert (await api.get("/v1/episodic/a/1")).json()["regime"] == "é"
    assert (await api.post("/v1/episodic", content=b" \n" + BODY)).status_code == 200


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
async def test_text_that_is_not_utf8_is_told(api: httpx.AsyncClient, encoding: str) -> None:
    answer = await api.post("/v1/episodic", content=BODY.decode().encode(encoding))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_json")


NUMBER_HEADERS = ["9" * 5_000, "-1", "+5", "1e3", "0x10", "5.0", "0", "600001"]


@pytest.mark.parametrize("number", NUMBER_HEADERS)
async def test_a_deadline_that_is_no_number_in_range_is_422(
    api: httpx.AsyncClient, number: str
) -> None:
    answer = await api.get(
        "/v1/stats", headers={"X-Deadline-Ms": number.encode().decode("latin-1")}
    )
    assert (answer.status_code, answer.json()["field"]) == (422, "X-Deadline-Ms")


@pytest.mark.parametrize("number", ["9" * 5_000, "-" + "9" * 5_000, "1e400", "-1", "0.5", "true"])
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/episodic/search", "top_k"),
        ("/v1/episodic/query", "limit"),
        ("/v1/episodic/sample", "size"),
        ("/v1/episodic/sample", "seed"),
        ("/v1/semantic/query", "min_access_count"),
    ],
)
async def test_numbers_of_any_length_in_bodies_are_422(
    api: httpx.AsyncClient, path: str, field: str, number: str
) -> None:
    known = {"agent_id": "a", "state_vector": VECTOR} if "search" in path else {"agent_id": "a"}
    head = orjson.dumps({} if "semantic" in path else known)[:-1]
    body = head + (b"" if head == b"{" else b",") + f'"{field}":{number}}}'.encode()
    answer = await api.post(path, content=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] in ("invalid_input", "invalid_json")


@pytest.mark.parametrize("number", ["9" * 5_000, "1e400", "nan", "-1", "%2B5", ""])
async def test_numbers_of_any_length_in_queries_are_422(
    api: httpx.AsyncClient, number: str
) -> None:
    for path in ("/v1/stats?limit=", "/v1/slow-queries?limit="):
        assert (await api.get(path + number)).status_code in (422, 200 if number == "%2B5" else 422)
    assert (await api.get("/v1/episodic/a/1?as_of=" + number)).status_code in (422, 404)


async def test_bounds_are_checked_before_sums(api: httpx.AsyncClient) -> None:
    """A negative `top_k` must not make room for others."""
    question = {"agent_id": "a", "state_vector": VECTOR, "include_vectors": True}
    searches = [question | {"top_k": k} for k in (1000, 1000, 1000, 1000, 1000, -4000, 10**40)]
    answer = await api.post(
        "/v1/episodic/search/batch",
        content=b'{"searches":[' + b",".join(_json(s) for s in searches) + b"]}",
    )
    assert (answer.status_code, answer.json()["field"]) == (422, "searches")


def _json(value: object) -> bytes:

    return json.dumps(value).encode()


NAMES = [
    "a/b",
    "a%2Fb",
    "%2e%2e",
    "a/../b",
    "?x=1",
    "#",
    " ",
    "a b",
    "+",
    "é",
    "search",
    "\\",
    "a;b",
]


@pytest.mark.parametrize("name", NAMES)
async def test_every_name_that_is_stored_can_be_reached(api: httpx.AsyncClient, name: str) -> None:

    stored = await api.post("/v1/episodic", json=MEMORY | {"agent_id": name, "id": name})
    assert stored.status_code == 201, stored.text
    path = f"/v1/episodic/{quote(name, safe='')}/{quote(name, safe='')}"
    assert (await api.get(path)).json()["id"] == name
    assert (await api.delete(path)).status_code == 204


@pytest.mark.parametrize("name", [".", "..", "..."])
async def test_names_that_paths_cannot_carry_are_refused(
    api: httpx.AsyncClient, redis: Redis, name: str
) -> None:
    concept = {
        "memory_type": "PATTERN",
        "regime_name": "r",
        "concept_vector": VECTOR,
        "sharpe_ratio": 1.0,
        "win_rate": 0.5,
    }
    for path, body, field in (
        ("/v1/episodic", MEMORY | {"id": name}, "id"),
        ("/v1/episodic", MEMORY | {"agent_id": name}, "agent_id"),
        ("/v1/semantic", concept | {"id": name}, "id"),
    ):
        answer = await api.post(path, json=body)
        assert (answer.status_code, answer.json()["field"]) == (422, field)
        assert "path" in answer.json()["detail"]
    assert await redis.dbsize() == 0


async def test_a_path_that_is_not_utf8_names_no_memory(api: httpx.AsyncClient) -> None:
    await api.post("/v1/episodic", json=MEMORY | {"id": "\ufffd"})
    assert (await api.get("/v1/episodic/a/%EF%BF%BD")).is_success
    answer = await api.delete("/v1/episodic/a/%ff")
    assert (answer.status_code, answer.json()["field"]) == (422, "path")


@pytest.mark.parametrize("name", ["%FF", "a%80", "%EF%BF%BD%FF"])
async def test_a_query_that_is_not_utf8_names_nobody(api: httpx.AsyncClient, name: str) -> None:
    """The bytes would be replaced, and the name be another's."""
    for path in (f"/v1/calibration?agent_id={name}", f"/v1/episodic/{name}/x"):
        answer = await api.get(path)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert (await api.get("/v1/calibration?agent_id=%EF%BF%BD")).status_code == 200


async def test_blanks_after_a_header_are_no_part_of_it(api: httpx.AsyncClient) -> None:
    head = b"GET /v1/stats HTTP/1.1\r\nHost: localhost \t\r\nX-Deadline-Ms: 9000 \t\r\n"
    answer = await answer_to(api, head + b"Connection: close \r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 "), answer
