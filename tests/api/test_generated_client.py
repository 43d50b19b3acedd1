"""What a generator makes of the document works against the service."""

import asyncio
import importlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import orjson
import pytest

from app.settings import Settings
from tests.conftest import DIMENSION, running_service

PACKAGE = "generated_memory_client"
VECTOR = [1.0, *[0.0] * (DIMENSION - 1)]


@pytest.fixture
async def generated(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Callable[[str], ModuleType], Any]]:
    """`import_(NAME)` of the generated package, and its client of a running service."""
    async with running_service(settings) as api:
        document = tmp_path / "openapi.json"
        document.write_bytes((await api.get("/openapi.json")).content)
        run = await asyncio.to_thread(
            subprocess.run,
            [
                *(sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"),
                *("--path", str(document), "--output-path", str(tmp_path / PACKAGE)),
            ],
            env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        assert "arning" not in run.stdout + run.stderr, run.stdout + run.stderr
        monkeypatch.syspath_prepend(str(tmp_path))

        def import_(name: str) -> ModuleType:
            return importlib.import_module(f"{PACKAGE}.{name}")

        client = import_("client").Client(base_url=str(api.base_url), verify_ssl=False)
        async with client:
            yield import_, client
        for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
            del sys.modules[name]


async def test_python_made_of_the_document_works(
    generated: tuple[Callable[[str], ModuleType], Any],
) -> None:
    import_, client = generated
    models = import_("models")

    async def call(operation: str, body: object, memory: str = "episodic") -> Any:
        return await import_(f"api.{memory}.{operation}").asyncio(client=client, body=body)

    def experience(memory_id: str, reward: float) -> Any:
        return models.EpisodicStore(
            id=memory_id,
            agent_id="a",
            product_id="BTC-USD",
            regime="bull",
            state_vector=VECTOR,
            action="buy",
            reward=reward,
        )

    stored = await call("store_episodic", experience("1", 0.5))
    assert (stored.id, stored.created, stored.durability) == ("1", True, "memory")
    batch = models.EpisodicStoreBatch(memories=[experience("2", 1.5), experience("1", 9.0)])
    outcome = await call("store_episodic_batch", batch)
    assert [result.status for result in outcome.results] == ["created", "error"]
    assert outcome.results[1].error.code == models.ProblemCode.CONTENT_CONFLICT

    question = models.EpisodicSearch(agent_id="a", state_vector=VECTOR, top_k=5)
    found = await call("search_episodic", question)
    assert {memory.id for memory in found.memories} == {"1", "2"}
    assert found.exact is True
    wrong = models.EpisodicSearch(agent_id="a", state_vector=[1.0])
    many = await call(
        "search_episodic_batch", models.EpisodicSearchBatch(searches=[question, wrong])
    )
    assert [type(result).__name__ for result in many.results] == [
        "SearchAnswered",
        "SearchProblem",
    ]
    estimate = await call(
        "estimate_episodic", models.EpisodicEstimate(agent_id="a", state_vector=VECTOR)
    )
    assert estimate.actions[0].action == "buy"
    assert 0.5 <= estimate.actions[0].value <= 1.5

    problem = await call("store_episodic", experience("1", 2.0))
    assert isinstance(problem, models.Problem)
    assert (problem.status, problem.code) == (409, models.ProblemCode.CONTENT_CONFLICT)
    concept = models.SemanticStore(
        id="c",
        memory_type=models.MemoryType.PATTERN,
        regime_name="bull",
        concept_vector=VECTOR,
        sharpe_ratio=1.0,
        win_rate=0.5,
    )
    assert (await call("store_semantic", concept, "semantic")).created is True
    ready = await import_("api.health.get_readyz").asyncio(client=client)
    assert ready.status in {"ok", "degraded"}  # the latter on a busy machine
    assert (await import_("api.operations.list_slow_queries").asyncio(client=client)) is not None


async def test_the_document_is_fit_for_generators(api: httpx.AsyncClient) -> None:
    raw = (await api.get("/openapi.json")).content
    document = orjson.loads(raw)
    schemas = document["components"]["schemas"]
    undescribed = [
        f"{model}.{name}"
        for model, schema in schemas.items()
        for name, field in schema.get("properties", {}).items()
        if not field.get("description")
    ]
    assert not undescribed, "\n".join(undescribed)
    assert b'"default":null' not in raw
    defaults = [
        f"{model}.{name}"
        for model, schema in schemas.items()
        for name, field in schema.get("properties", {}).items()
        if "default" in field
    ]
    assert defaults == [], "openapi-typescript takes them for required"
    assert document["servers"]
    assert document["info"]["license"]["identifier"] == "MIT"
    assert {"episodic", "semantic", "operations", "health"} == {t["name"] for t in document["tags"]}
    assert "durability_not_reached" in schemas["ProblemCode"]["enum"]
    assert schemas["EpisodicStoreBatch"]["properties"]["memories"]["items"]["$ref"]
    for operations in document["paths"].values():
        for operation in operations.values():
            _is_whole(operation)


def _is_whole(operation: dict[str, Any]) -> None:
    name, responses = operation["operationId"], operation["responses"]
    assert name.isidentifier()
    assert name.count("_") <= 2
    assert {"405", "500"} <= set(responses), name
    assert "429" in responses or "security" not in operation, name
    for status, response in responses.items():
        assert "X-Request-Id" in response["headers"], (name, status)
        if status in ("429", "503") and "get_readyz" not in name:
            assert "Retry-After" in response["headers"], (name, status)
    parameters = {parameter["name"]: parameter for parameter in operation["parameters"]}
    assert "X-Deadline-Ms" in parameters
    assert not any("null" in str(parameter["schema"]) for parameter in parameters.values())
    if "X-Durability" in parameters:
        done = [response for status, response in responses.items() if status.startswith("2")]
        assert all("X-Durability" in response["headers"] for response in done), name
