"""Experiences as Arrow columns: the same content as JSON, and nothing that JSON would refuse."""

from collections.abc import Callable, Mapping

import httpx
import numpy as np
import orjson
import pyarrow as pa
import pytest

from tests.conftest import DIMENSION

ARROW = "application/vnd.apache.arrow.stream"
Make = Callable[[int], list[float]]


def stream(table: pa.RecordBatch | pa.Table, **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as out:
        out.write(table)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def batch(vector: Make, count: int = 3) -> dict[str, pa.Array]:
    states = np.array([vector(seed) for seed in range(count)], np.float32)
    return {
        "id": pa.array([f"m{i}" for i in range(count)]),
        "agent_id": pa.array(["a"] * count),
        "product_id": pa.array(["BTC-USD"] * count),
        "regime": pa.array(["bull"] * count),
        "reward": pa.array([i / 4 if i % 2 else None for i in range(count)]),
        "timestamp": pa.array(range(count), pa.timestamp("s", "UTC")),
        "metadata": pa.array(['{"a":1}', *[None] * (count - 1)]),
        "episode_id": pa.array(["e"] * count),
        "step": pa.array(range(count)),
        "state_vector": pa.FixedSizeListArray.from_arrays(states.ravel(), DIMENSION),
        "next_state_vector": pa.array([None, *states[1:].tolist()], pa.list_(pa.float64())),
    }


async def post(api: httpx.AsyncClient, columns: dict[str, pa.Array]) -> httpx.Response:
    body = stream(pa.record_batch(columns))
    return await api.post(
        "/v1/episodic/batch", content=body, headers={"Content-Type": f"{ARROW}; x=y"}
    )


async def test_a_batch_of_columns_is_the_same_as_json(api: httpx.AsyncClient, vector: Make) -> None:
    stored = await post(api, batch(vector))
    assert stored.json()["created"] == 3, stored.text
    items = [
        {
            "id": f"m{i}",
            "agent_id": "a",
            "product_id": "BTC-USD",
            "regime": "bull",
            "timestamp": i,
            "episode_id": "e",
            "step": i,
            "state_vector": vector(i),
            **({"reward": i / 4} if i % 2 else {}),
            **({"metadata": {"a": 1}} if i == 0 else {"next_state_vector": vector(i)}),
        }
        for i in range(3)
    ]
    again = (await api.post("/v1/episodic/batch", json={"memories": items})).json()
    assert [result["status"] for result in again["results"]] == ["unchanged"] * 3


async def test_a_bad_row_is_named_and_the_others_are_stored(
    api: httpx.AsyncClient, vector: Make
) -> None:
    columns = batch(vector)
    columns["regime"] = pa.array(["bull", None, "bull"])
    columns["metadata"] = pa.array(["{}", "{}", "no json"])
    results = (await post(api, columns)).json()["results"]
    assert [result["status"] for result in results] == ["created", "error", "error"]
    assert [result.get("error", {}).get("field") for result in results] == [
        None,
        "regime",
        "metadata",
    ]
    columns = batch(vector) | {"surprise": pa.array([1, 2, 3])}
    results = (await post(api, columns)).json()["results"]
    assert {result["error"]["field"] for result in results} == {"surprise"}
    states = np.array([vector(1), [np.nan] * DIMENSION, vector(2)], np.float32)
    columns = batch(vector) | {"agent_id": pa.array(["b"] * 3)}
    columns["state_vector"] = pa.FixedSizeListArray.from_arrays(states.ravel(), DIMENSION)
    results = (await post(api, columns)).json()["results"]
    assert [result["status"] for result in results] == ["created", "error", "created"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no arrow",
        stream(pa.table({"id": ["a"]}))[:-40],
        stream(pa.table({"id": ["a" * 5000]}), compression="zstd"),
        stream(pa.table({"id": pa.array(["a"]).dictionary_encode()})),
        stream(pa.table({"id": ["a"] * 1001})),
        stream(pa.table({"id": pa.array([], pa.string())})),
    ],
    ids=["empty", "text", "cut", "compressed", "dictionary", "too many", "none"],
)
async def test_what_is_no_plain_stream_is_refused(api: httpx.AsyncClient, body: bytes) -> None:
    answer = await api.post("/v1/episodic/batch", content=body, headers={"Content-Type": ARROW})
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "invalid_input"


async def test_a_stream_with_wrong_offsets_is_refused(api: httpx.AsyncClient, vector: Make) -> None:
    body = bytearray(stream(pa.record_batch(batch(vector))))
    for place in range(0, len(body), 7):
        spoilt = bytes(body[:place] + b"\xff" + body[place + 1 :])
        answer = await api.post(
            "/v1/episodic/batch", content=spoilt, headers={"Content-Type": ARROW}
        )
        assert answer.status_code < 500, (place, answer.text)


async def read(api: httpx.AsyncClient, path: str, body: Mapping[str, object]) -> pa.Table:
    answer = await api.post(f"/v1/episodic/{path}", json=body, headers={"Accept": ARROW})
    assert answer.headers["content-type"] == ARROW, answer.text
    return pa.ipc.open_stream(answer.content).read_all()


async def test_answers_are_the_same_as_json(api: httpx.AsyncClient, vector: Make) -> None:
    await post(api, batch(vector, 9))
    questions: dict[str, dict[str, object]] = {
        "search": {"agent_id": "a", "state_vector": vector(1), "include_vectors": True},
        "query": {"agent_id": "a", "limit": 5},
        "sample": {"agent_id": "a", "size": 4, "seed": 1, "include_vectors": True},
    }
    for path, body in questions.items():
        table = await read(api, path, body)
        answer = (await api.post(f"/v1/episodic/{path}", json=body)).json()
        told = orjson.loads(table.schema.metadata[b"answer"])
        memories = answer.pop("memories")
        assert told.keys() == answer.keys() - {"explain"}
        assert table.num_rows == len(memories) > 0
        for row, memory in zip(table.to_pylist(), memories, strict=True):
            row["metadata"] = orjson.loads(row["metadata"])
            found = {name: value for name, value in row.items() if value is not None}
            wanted = {name: value for name, value in memory.items() if value is not None}
            for name in ("state_vector", "next_state_vector"):
                own, other = found.pop(name, []), wanted.pop(name, [])
                assert np.array_equal(np.float32(own), np.float32(other))
            assert found == wanted
        if "include_vectors" in body:
            kind = table.schema.field("state_vector").type
            assert kind == pa.list_(pa.float32(), DIMENSION)


async def test_an_empty_answer_has_the_columns_too(api: httpx.AsyncClient, vector: Make) -> None:
    body = {"agent_id": "nobody", "state_vector": vector(1)}
    table = await read(api, "search", body)
    assert table.num_rows == 0
    assert {"id", "reward", "distance"} <= set(table.schema.names)


async def test_a_problem_stays_json(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/episodic/search", json={}, headers={"Accept": ARROW})
    assert answer.headers["content-type"] == "application/problem+json"
