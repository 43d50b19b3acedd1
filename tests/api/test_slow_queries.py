"""The slow log, in the words of the API."""

from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from app.model import EpisodicFilter
from app.settings import Settings
from app.storage.query_syntax import conjunction, episodic_conditions
from app.storage.slowlog import decoded_filters
from tests.conftest import DIMENSION, running_service
from tests.kit.changes import delivered

VECTOR = [0.123] * DIMENSION


async def slow_calls(settings: Settings, redis: Redis, **question: Any) -> list[dict[str, Any]]:
    """Everything that Redis noted while a memory was stored, found and listed."""
    await redis.slowlog_reset()
    async with running_service(settings.model_copy(update={"slowlog_slower_than_us": 0})) as api:
        memory = {
            "agent_id": "a:b,c",
            "product_id": "BTC-USD",
            "regime": "r",
            "state_vector": VECTOR,
        }
        assert (await api.post("/v1/episodic", json=memory)).status_code == 201
        question = {"agent_id": "a:b,c", "product_id": ["BTC-USD", "x|y z"], "min_reward": -0.5}
        search = question | {"state_vector": VECTOR}
        assert (await api.post("/v1/episodic/search", json=search)).status_code == 200
        assert (await api.post("/v1/episodic/query", json=question)).status_code == 200
        await redis.config_set("requirepass", "hush-hush")
        await redis.config_set("requirepass", "")
        answer = await api.get("/v1/slow-queries", params={"limit": 1000})
        assert answer.status_code == 200
        assert "hush" not in answer.text
        body = answer.json()
        assert body["silent_nodes"] == []
        calls: list[dict[str, Any]] = body["slow_queries"]
        limited = (await api.get("/v1/slow-queries", params={"limit": 3})).json()["slow_queries"]
        assert len(limited) == 3
    await redis.config_set("slowlog-log-slower-than", 10_000)
    return calls


async def test_calls_are_told_with_agent_kind_and_filters(settings: Settings, redis: Redis) -> None:
    calls = await slow_calls(settings, redis)
    filters = {"product_id": ["BTC-USD", "x|y z"], "min_reward": -0.5}
    for kind in ("vector_similarity", "range"):
        (call,) = [call for call in calls if call["kind"] == kind]
        assert (call["agent_id"], call["filters"], call["cut"]) == ("a:b,c", filters, False)
        assert call["node"] == "master"
        assert call["took_ms"] > 0
    assert "a:b,c" in {call["agent_id"] for call in calls if call["kind"] == "write"}
    assert sorted(call["at"] for call in calls) == [call["at"] for call in reversed(calls)]
    (config, *_) = [call for call in calls if call["command"] == "CONFIG"]
    assert config["filters"] == {}


@pytest.mark.parametrize(
    "wanted",
    [
        EpisodicFilter(),
        EpisodicFilter(product_id=("a,b", "{x}", "q\\|r", " edge "), regime=("]", ")", "é")),
        EpisodicFilter(min_reward=-1e-9, max_reward=2.5, since=0.0, until=1.5e9, terminal=False),
    ],
)
def test_filters_are_read_back_as_they_were_given(wanted: EpisodicFilter) -> None:
    query = (
        f"{conjunction(episodic_conditions(wanted))}=>[KNN 10 @state_vector $vector AS distance]"
    )
    given: dict[str, Any] = {}
    for name in EpisodicFilter.__dataclass_fields__:
        found = getattr(wanted, name)
        if found not in ((), None) and name != "closed":
            given[name] = list(found) if isinstance(found, tuple) else found
    assert decoded_filters(query) == given


async def test_the_threshold_is_the_setting(settings: Settings, redis: Redis) -> None:
    async with running_service(settings.model_copy(update={"slowlog_slower_than_us": 12_345})):
        found = await redis.config_get("slowlog-log-slower-than")
    assert found == {"slowlog-log-slower-than": "12345"}
    await redis.config_set("slowlog-log-slower-than", 10_000)


async def test_explain_says_how_the_answer_came_about(api: httpx.AsyncClient, redis: Redis) -> None:
    memory = {"agent_id": "a", "product_id": "p", "regime": "r", "state_vector": VECTOR}
    await api.post("/v1/episodic", json=memory)
    await delivered(redis)
    question = {"agent_id": "a", "state_vector": VECTOR}
    plain = (await api.post("/v1/episodic/search", json=question)).json()
    assert "explain" not in plain
    for _ in range(2):
        asked = (await api.post("/v1/episodic/search", json=question | {"explain": True})).json()
        assert asked["cached"] is False
        explained = asked["explain"]
        assert explained["index"] == "episodic_memory_idx:{a}"
        assert (explained["algorithm"], explained["exact"]) == ("FLAT", True)
        assert (explained["node"], explained["batch_size"], explained["searches"]) == (
            "master",
            1,
            1,
        )
        stages = explained["stages_ms"]
        assert set(stages) == {"parse", "waiting", "redis", "decode", "total"}
        assert 0 < stages["redis"] < stages["total"]
        assert sum(stages.values()) - stages["total"] <= stages["total"] + 0.01
    again = (await api.post("/v1/episodic/search", json=question)).json()
    assert again["cached"] is True
    assert "explain" not in again
    concept = {"concept_vector": VECTOR, "explain": True}
    semantic = (await api.post("/v1/semantic/search", json=concept)).json()
    assert semantic["explain"]["algorithm"] == "HNSW"


@pytest.mark.parametrize(
    "name", ["@agent_id:[x y]", "@reward:[x y]", "-@a:[b c]", "@agent_id:x [1 2]"]
)
async def test_a_name_that_looks_like_a_query_is_a_name(
    settings: Settings, redis: Redis, name: str
) -> None:
    await redis.slowlog_reset()
    async with running_service(settings.model_copy(update={"slowlog_slower_than_us": 0})) as api:
        memory = {"agent_id": name, "product_id": name, "regime": name, "state_vector": VECTOR}
        assert (await api.post("/v1/episodic", json=memory | {"id": name})).status_code == 201
        question = {"agent_id": name, "product_id": name, "scope": "all", "state_vector": VECTOR}
        assert (await api.post("/v1/episodic/search", json=question)).status_code == 200
        answer = await api.get("/v1/slow-queries", params={"limit": 1000})
        assert answer.status_code == 200, answer.text
        calls = answer.json()["slow_queries"]
        (search,) = [call for call in calls if call["kind"] == "vector_similarity"]
        assert (search["agent_id"], search["filters"]) == (name, {"product_id": [name]})
    await redis.config_set("slowlog-log-slower-than", 10_000)


@pytest.mark.parametrize(
    "query", ["@terminal:{}", "@reward:[a b]", "@reward:[1 ... (9 more bytes)"]
)
def test_what_the_service_never_asks_is_no_filter(query: str) -> None:
    assert decoded_filters(query) == {}
