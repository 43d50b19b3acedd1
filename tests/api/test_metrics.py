"""/metrics: the counters add up over all workers, and no storm of names makes it grow."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from app.metrics import AgentLabels
from app.settings import Settings
from tests.conftest import DIMENSION, running_service
from tests.kit.service_process import NO_TLS, service_process

VECTOR = [1.0] * DIMENSION
HEADERS = {"connection": "close"}
"""Each request on a connection of its own, so that every worker gets some."""
PATIENTLY: dict[str, Any] = {"headers": HEADERS, "timeout": 60, "verify": NO_TLS}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found.get((name, frozenset(labels.items())), 0.0)


def total(found: Samples, name: str, **labels: str) -> float:
    """The sum over the labels that are not given."""
    wanted = set(labels.items())
    return sum(count for (n, has), count in found.items() if n == name and wanted <= has)


def search(agent_id: str, **fields: Any) -> dict[str, Any]:
    return {"agent_id": agent_id, "state_vector": VECTOR, **fields}


def counted(found: Samples) -> float:
    """Searches among the HTTP requests."""
    labels = {"handler": "/v1/episodic/search", "method": "POST", "status": "2xx"}
    return value(found, "http_requests_total", **labels)


def test_counters_of_two_workers_add_up_under_load(tmp_path: Path) -> None:
    sent = 600

    with (
        service_process(data_dir=tmp_path, dimension=DIMENSION, workers=2) as service,
        service.client() as client,
        ThreadPoolExecutor(16) as pool,
    ):
        memory = search("a", product_id="p", regime="r")
        assert client.post("/v1/episodic", json=memory).status_code == 201

        def ask(number: int) -> int:
            if number % 50 == 0:
                assert httpx.get(f"{service.url}/metrics", **PATIENTLY).status_code == 200
            url, body = f"{service.url}/v1/episodic/search", search("a", top_k=1 + number % 7)
            return httpx.post(url, json=body, **PATIENTLY).status_code

        assert set(pool.map(ask, range(sent))) == {200}
        # A request is counted when its answer is under way, so the last one maybe a moment later.
        found = samples(client.get("/metrics").text)
        give_up_at = time.monotonic() + 60
        while counted(found) < sent and time.monotonic() < give_up_at:
            found = samples(client.get("/metrics").text)

    handler = "/v1/episodic/search"
    assert value(found, "http_requests_total", handler=handler, method="POST", status="2xx") == sent
    assert total(found, "http_request_duration_seconds_count", handler=handler) == sent
    kind = {"query_type": "vector_similarity"}
    assert value(found, "redis_memory_queries_total", **kind, status="success") == sent
    assert value(found, "redis_memory_query_seconds_count", **kind, agent_id="a") == sent
    hits = value(found, "redis_memory_cache_hits_total")
    assert hits + value(found, "redis_memory_cache_misses_total") == sent
    assert value(found, "memory_node_up", node="master", role="master") == 1
    # Both workers counted: no single one holds all.
    assert value(found, "redis_memory_usage_bytes") > 0


def test_a_storm_of_agents_stays_within_the_cap_in_two_workers(tmp_path: Path) -> None:
    cap, storm = 20, 10_000
    settings = {"data_dir": tmp_path, "dimension": DIMENSION, "workers": 2}
    with (
        service_process(**settings, metrics_max_agents=cap) as service,
        service.client() as client,
        ThreadPoolExecutor(8) as pool,
    ):

        def ask(batch: int) -> None:
            names = [f"agent {batch * 250 + i}" for i in range(250)]
            body = {"searches": [search(name) for name in names]}
            url = f"{service.url}/v1/episodic/search/batch"
            answer = httpx.post(url, json=body, **PATIENTLY)
            assert answer.status_code == 200

        list(pool.map(ask, range(storm // 250)))
        found = samples(client.get("/metrics").text)

    name = "redis_memory_query_seconds_count"
    agents = {dict(labels)["agent_id"] for n, labels in found if n == name}
    assert len(agents) == cap + 1
    assert "other" in agents
    assert total(found, name) == storm
    assert total(found, "redis_memory_queries_total", query_type="vector_similarity") == storm


def test_labels_are_shared_and_bounded_across_processes(tmp_path: Path) -> None:
    one, two = AgentLabels(2, tmp_path), AgentLabels(2, tmp_path)
    assert [one.label("a"), two.label("b"), one.label("c"), two.label("a")] == [
        "a",
        "b",
        "other",
        "a",
    ]
    assert [one.label("b"), two.label("c"), one.label("")] == ["b", "other", ""]
    replaced = AgentLabels(2, tmp_path)
    assert [replaced.label("d"), replaced.label("b")] == ["other", "b"]
    assert AgentLabels(0).label("a") == "other"


async def metrics_of(api: httpx.AsyncClient) -> Samples:
    return samples((await api.get("/metrics")).text)


async def until(
    api: httpx.AsyncClient, condition: Callable[[Samples], bool], within_s: float = 60
) -> Samples:
    async with asyncio.timeout(within_s):
        while not condition(found := await metrics_of(api)):
            await asyncio.sleep(0.05)
    return found


async def test_each_kind_of_question_is_counted_by_its_outcome(api: httpx.AsyncClient) -> None:
    before = await metrics_of(api)
    await api.post("/v1/episodic/search", json=search("kinds"))
    await api.post("/v1/episodic/query", json={"agent_id": "kinds"})
    await api.post("/v1/semantic/search", json={"concept_vector": VECTOR})
    await api.post("/v1/semantic/query", json={})
    refused = await api.post("/v1/episodic/query", json={"agent_id": "kinds", "cursor": "no"})
    assert refused.status_code == 422
    after = await metrics_of(api)

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    for kind in ("vector_similarity", "semantic_similarity", "range", "semantic_range"):
        asked = {"query_type": kind}
        assert grown("redis_memory_queries_total", **asked, status="success") == 1
    assert grown("redis_memory_queries_total", query_type="range", status="error") == 1
    assert (
        grown("http_requests_total", handler="/v1/episodic/query", method="POST", status="4xx") == 1
    )


async def test_unknown_paths_and_scrapes_make_no_series(api: httpx.AsyncClient) -> None:
    for number in range(20):
        assert (await api.get(f"/nothing/{number}")).status_code == 404
    await api.get("/v1/episodic/a/some-id")
    found = await metrics_of(api)
    handlers = {dict(labels)["handler"] for name, labels in found if name == "http_requests_total"}
    assert "none" in handlers
    assert "/v1/episodic/{agent_id}/{id}" in handlers
    assert not [handler for handler in handlers if "nothing" in handler or handler == "/metrics"]


async def test_figures_of_redis_follow_it(settings: Settings, redis: Redis) -> None:
    eager = settings.model_copy(update={"metrics_interval_s": 0.05})
    async with running_service(eager) as api:
        batch = [
            {**search(f"a{i % 3}"), "product_id": "p", "regime": "r"}
            | ({"reward": 1.0} if i < 4 else {})
            for i in range(10)
        ]
        assert (await api.post("/v1/episodic/batch", json={"memories": batch})).json()[
            "failed"
        ] == 0
        found = await until(
            api,
            lambda f: (
                (value(f, "memory_open_memories"), value(f, "memory_index_documents")) == (6, 10)
            ),
        )
        assert value(found, "memory_index_progress_ratio") == 1
        assert value(found, "memory_index_failures") == 0
        assert value(found, "memory_index_bytes") > 0
        assert value(found, "redis_memory_usage_bytes") > 0
        assert value(found, "redis_memory_limit_bytes") == 0
        assert value(found, "redis_connections_active") >= 2
        # A vector of another length is stored but in no index: the figure says so.
        await redis.hset("episodic:{a0}:bad", mapping={"state_vector": b"1234"})
        await until(api, lambda f: value(f, "memory_index_failures") == 1)
        expired = value(found, "redis_expired_keys_total")
        await redis.set("short", "1", px=1)
        await asyncio.sleep(0.01)
        await redis.get("short")
        # Locks of background jobs expire as well.
        await until(api, lambda f: value(f, "redis_expired_keys_total") > expired)
