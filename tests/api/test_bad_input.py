"""Bad input of every kind gets 422 that names the field, and nothing is stored."""

import base64
from typing import Any

import httpx
import numpy as np
import pytest
from redis.asyncio import Redis

from app.contract.fields import RESERVED_IDS
from tests.conftest import DIMENSION

GOOD = {
    "agent_id": "agent_1",
    "product_id": "BTC-USD",
    "regime": "bull",
    "state_vector": [1.0] * DIMENSION,
}


def packed(*values: float) -> str:
    return base64.b64encode(np.array(values, "<f4").tobytes()).decode()


BAD_STORES: list[tuple[str, dict[str, Any], str]] = [
    ("wrong dimension", {"state_vector": [1.0] * (DIMENSION + 1)}, "state_vector"),
    ("no numbers", {"state_vector": []}, "state_vector"),
    ("all zeros", {"state_vector": [0.0] * DIMENSION}, "state_vector"),
    ("text among numbers", {"state_vector": ["1"] * DIMENSION}, "state_vector.0"),
    ("too large for float32", {"state_vector": [1e300] * DIMENSION}, "state_vector"),
    ("too small to compare", {"state_vector": [1e-30] * DIMENSION}, "state_vector"),
    ("bad base64", {"state_vector": "not base64!"}, "state_vector"),
    ("base64 of 3 bytes", {"state_vector": "AAAA"}, "state_vector"),
    ("base64 of another dimension", {"state_vector": packed(1.0, 2.0)}, "state_vector"),
    ("base64 with NaN", {"state_vector": packed(*[float("nan")] * DIMENSION)}, "state_vector"),
    ("base64 with infinity", {"state_vector": packed(*[np.inf] * DIMENSION)}, "state_vector"),
    ("base64 of zeros", {"state_vector": packed(*[0.0] * DIMENSION)}, "state_vector"),
    ("next state: wrong dimension", {"next_state_vector": [1.0]}, "next_state_vector"),
    *(("an id that is a view's address", {"id": name}, "id") for name in sorted(RESERVED_IDS)),
    ("unknown field", {"agent": "x"}, "agent"),
    ("control character", {"product_id": "BTC\x00"}, "product_id"),
    ("C1 control character", {"regime": "a\x85"}, "regime"),
    ("empty name", {"product_id": ""}, "product_id"),
    ("129 characters", {"regime": "x" * 129}, "regime"),
    ("brace in agent", {"agent_id": "a{b"}, "agent_id"),
    ("closing brace in agent", {"agent_id": "a}b"}, "agent_id"),
    ("number as name", {"agent_id": 5}, "agent_id"),
    ("text as reward", {"reward": "1"}, "reward"),
    ("milliseconds", {"timestamp": 1_700_000_000_000}, "timestamp"),
    ("outcome without reward", {"outcome_at": 1.0}, "outcome_at"),
    (
        "outcome before state",
        {"reward": 1.0, "timestamp": 10.0, "outcome_at": 9.0},
        "outcome_at",
    ),
    ("metadata is a list", {"metadata": []}, "metadata"),
    ("metadata with a 65-bit integer", {"metadata": {"a": 2**65}}, "metadata"),
    ("metadata too large", {"metadata": {"a": "x" * 20_000}}, "metadata"),
    ("id with a control character", {"id": "a\n"}, "id"),
]


async def count_of_keys(redis: Redis) -> int:
    return int(await redis.dbsize())


@pytest.mark.parametrize(
    ("change", "field"), [bad[1:] for bad in BAD_STORES], ids=[bad[0] for bad in BAD_STORES]
)
async def test_bad_store_names_the_field_and_stores_nothing(
    api: httpx.AsyncClient, redis: Redis, change: dict[str, Any], field: str
) -> None:
    answer = await api.post("/v1/episodic", json=GOOD | change)

    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "invalid_input"
    assert problem["field"] == field
    assert problem["retryable"] is False
    assert problem["status"] == 422
    assert await count_of_keys(redis) == 0


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_numbers_that_are_none_in_json_name_the_field(
    api: httpx.AsyncClient, redis: Redis, literal: str
) -> None:
    numbers = ", ".join([literal] + ["1.0"] * (DIMENSION - 1))
    body = '{"agent_id": "a", "product_id": "p", "regime": "r", "state_vector": [' + numbers + "]}"
    answer = await api.post("/v1/episodic", content=body)
    assert answer.status_code == 422
    assert answer.json()["field"] == "state_vector.0"
    assert await count_of_keys(redis) == 0


async def test_missing_field_is_named(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/episodic", json={"agent_id": "a"})
    named = {error["field"] for error in answer.json()["errors"]}
    assert named == {"product_id", "regime", "state_vector"}


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"text"', b"\xff\xfe", b"{} {}"])
async def test_body_that_is_no_json_object(api: httpx.AsyncClient, body: bytes) -> None:
    for path in ("/v1/episodic", "/v1/episodic/batch", "/v1/episodic/search", "/v1/semantic"):
        answer = await api.post(path, content=body)
        assert answer.status_code == 422
        assert answer.json()["code"] in {"invalid_json", "invalid_input"}


@pytest.mark.parametrize("count", [0, 1001])
async def test_batch_of_a_wrong_size_stores_nothing(
    api: httpx.AsyncClient, redis: Redis, count: int
) -> None:
    answer = await api.post("/v1/episodic/batch", json={"memories": [GOOD] * count})
    assert answer.status_code == 422
    assert answer.json()["field"] == "memories"
    assert await count_of_keys(redis) == 0


async def test_batch_stores_the_good_and_names_the_bad(api: httpx.AsyncClient) -> None:
    items: list[Any] = []
    for i, (_, change, _) in enumerate(BAD_STORES):
        items += [GOOD | {"id": f"good-{i}"}, GOOD | {"id": f"bad-{i}"} | change]
    items += ["not an object", None]

    answer = await api.post("/v1/episodic/batch", json={"memories": items})

    body = answer.json()
    assert answer.status_code == 200
    assert body["created"] == len(BAD_STORES)
    assert body["failed"] == len(BAD_STORES) + 2
    for i, (_, change, field) in enumerate(BAD_STORES):
        good, bad = body["results"][2 * i : 2 * i + 2]
        assert good == {"index": 2 * i, "id": f"good-{i}", "status": "created"}
        assert bad["index"] == 2 * i + 1
        assert (bad["id"], bad["status"]) == (change.get("id", f"bad-{i}"), "error")
        assert bad["error"]["field"] == field
    found = await api.post(
        "/v1/episodic/search",
        json={"agent_id": "agent_1", "state_vector": [1.0] * DIMENSION, "top_k": 1000},
    )
    assert {m["id"] for m in found.json()["memories"]} == {
        f"good-{i}" for i in range(len(BAD_STORES))
    }


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"top_k": 0}, "top_k"),
        ({"top_k": 1001}, "top_k"),
        ({"top_k": 1.5}, "top_k"),
        ({"scope": "everyone"}, "scope"),
        ({"product_id": []}, "product_id"),
        ({"product_id": [""]}, "product_id.0"),
        ({"horizon": True}, "horizon"),
        ({"horizon": ""}, "horizon"),
        ({"max_distance": 3}, "max_distance"),
        ({"consistency": "now"}, "consistency"),
        ({"state_vector": [1.0]}, "state_vector"),
        ({"min_reward": "high"}, "min_reward"),
        ({"limit": 5}, "limit"),
    ],
)
async def test_bad_search_names_the_field(
    api: httpx.AsyncClient, change: dict[str, Any], field: str
) -> None:
    question = {"agent_id": "a", "state_vector": [1.0] * DIMENSION}
    answer = await api.post("/v1/episodic/search", json=question | change)
    assert answer.status_code == 422
    assert answer.json()["field"] == field


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"memory_type": "pattern"}, "memory_type"),
        ({"win_rate": 1.5}, "win_rate"),
        ({"sharpe_ratio": None}, "sharpe_ratio"),
        ({"concept_vector": [0.0] * DIMENSION}, "concept_vector"),
        ({"regime_name": ""}, "regime_name"),
        ({"agent_id": "a"}, "agent_id"),
    ],
)
async def test_bad_concept_names_the_field(
    api: httpx.AsyncClient, redis: Redis, change: dict[str, Any], field: str
) -> None:
    concept = {
        "memory_type": "PATTERN",
        "regime_name": "bull",
        "concept_vector": [1.0] * DIMENSION,
        "sharpe_ratio": 1.0,
        "win_rate": 0.5,
    }
    answer = await api.post("/v1/semantic", json=concept | change)
    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert await count_of_keys(redis) == 0


async def test_a_wrong_method_names_all_that_the_path_has(api: httpx.AsyncClient) -> None:
    for path, allowed in (
        ("/v1/semantic/a%2Fb", "DELETE, GET, PATCH"),
        ("/v1/episodic/a/b", "DELETE, GET, PATCH"),
    ):
        answer = await api.put(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


async def test_path_with_a_brace_reaches_no_memory(api: httpx.AsyncClient) -> None:
    """`x}:y` as an agent would be a key of agent `x`."""
    await api.post("/v1/episodic", json=GOOD | {"agent_id": "x", "id": "y}:z"})
    answer = await api.delete("/v1/episodic/x%7D:y%7D/z")
    assert answer.status_code == 422
    assert answer.json()["field"] == "agent_id"
    assert (await api.get("/v1/episodic/x/y%7D:z")).status_code == 200


async def test_unknown_path_and_method_are_problems(api: httpx.AsyncClient) -> None:
    for method, path, status in (("GET", "/v2", 404), ("PUT", "/v1/episodic", 405)):
        answer = await api.request(method, path)
        assert answer.status_code == status
        assert answer.headers.get("allow") == ("POST" if status == 405 else None)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status


async def test_the_usual_slips_are_named(api: httpx.AsyncClient) -> None:
    async def told(**change: object) -> str:
        answer = await api.post("/v1/episodic", json=GOOD | change)
        assert answer.status_code == 422
        return str(answer.json()["detail"])

    assert "seconds, not milliseconds?" in await told(timestamp=1_700_000_000_000)
    slips = 0
    for seed in range(50):
        numbers = np.random.default_rng(seed).normal(size=DIMENSION).astype("<f8")
        sentence = await told(state_vector=base64.b64encode(numbers.tobytes()).decode())
        slips += f"{2 * DIMENSION} numbers of float32: are these float64?" in sentence
    assert slips == 50
    whole = await api.post("/v1/episodic/search/batch", json={"searches": [None, "x", 5]})
    for result in whole.json()["results"]:
        assert result["detail"] == "body: should be an object."


async def test_sentences_are_in_the_callers_words(api: httpx.AsyncClient) -> None:
    question = {"agent_id": "a", "state_vector": [1.0] * DIMENSION}
    for change, sentence in (
        ({"state_vector": ""}, "must not be empty or all zeros: it has no direction to compare"),
        ({"state_vector": 5}, "should be an array of numbers, or base64"),
        ({"regime": 5}, "should be a string or an array of strings"),
        ({"regime": []}, "must not be empty"),
        ({"agent_id": ""}, "must not be empty"),
        ({"agent_id": "x" * 129}, "may have at most 128 characters"),
        ({"regime": ["x"] * 101}, "may have at most 100 items"),
        ({"top_k": "5"}, "should be a whole number without a decimal point"),
    ):
        answer = await api.post("/v1/episodic/search", json=question | change)
        assert answer.status_code == 422
        assert answer.json()["detail"] == f"{next(iter(change))}: {sentence}."


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ("GET /v1/episodic/a/b?asof=1", "asof"),  # would read the future
        ("GET /v1/episodic/a/b?as_of=1&as_of=2", "as_of"),
        ("GET /v1/episodic/a/b?as_of=1700000000000", "as_of"),
        ("GET /v1/episodic/a/changes?limits=1", "limits"),
        ("GET /v1/calibration?agent_id=a&horizon=0", "horizon"),
        ("GET /v1/stats?agent=a", "agent"),
        ("POST /v1/episodic?as_of=1", "as_of"),
        ("POST /v1/episodic/search?as_of=1", "as_of"),
    ],
)
async def test_bad_parameters_are_named(api: httpx.AsyncClient, asked: str, field: str) -> None:
    method, path = asked.split(" ")
    answer = await api.request(method, path, json=GOOD if method == "POST" else None)
    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert "Input" not in answer.json()["detail"]


async def test_every_view_of_a_memory_has_a_reserved_name(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]
    prefix = "/v1/episodic/{agent_id}/"
    names = {path.removeprefix(prefix) for path in paths if path.startswith(prefix)}
    assert {name for name in names if "{" not in name} == RESERVED_IDS
