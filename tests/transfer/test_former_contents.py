"""What concepts were before they were changed is exported and imported with them."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from pyarrow import parquet
from redis.asyncio import Redis

from app import keys
from app.commands.import_memory import former_text
from app.nodes.client import execute
from app.settings import Settings
from app.transfer import files, read_memory
from app.transfer.export_memory import PartialFile
from app.transfer.file_format import ExportRow
from app.transfer.files import read_header, read_rows
from tests.conftest import running_service
from tests.transfer.filled import CONCEPTS, concept, export_to, import_from

FILES = ["all.ndjson", "all.ndjson.gz", "all.parquet"]
CHANGES = {"c1": 1, "c2": 7}
"""How often each concept is changed: within what is read or written at once, and beyond it."""


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PAGE_ROWS", 3)
    monkeypatch.setattr(read_memory, "READ_AT_ONCE", 2)


async def live(api: httpx.AsyncClient) -> list[float]:
    """Store concepts and change them; moments at which each content held."""
    batch = {"memories": [concept(i) for i in range(CONCEPTS)]}
    assert (await api.post("/v1/semantic/batch", json=batch)).json()["failed"] == 0
    moments = [time.time()]
    for name, changes in CHANGES.items():
        for i in range(changes):
            vector = concept(100 + i)["concept_vector"]
            change = {"sharpe_ratio": float(i), "concept_vector": vector, "metadata": {"i": i}}
            assert (await api.patch(f"/v1/semantic/{name}", json=change)).is_success
            moments.append(time.time())
    return moments


async def history(api: httpx.AsyncClient, moments: list[float]) -> list[Any]:
    """What search, query and GET say of each of these moments."""
    said: list[Any] = []
    for as_of in moments:
        question = {"concept_vector": concept(1)["concept_vector"], "top_k": 100, "exact": True}
        for path, body in [("search", question | {"include_vectors": True}), ("query", {})]:
            answer = await api.post(f"/v1/semantic/{path}", json=body | {"as_of": as_of})
            memories = answer.json()["memories"]
            assert len(memories) == CONCEPTS
            said.append(sorted(memories, key=lambda memory: memory["id"]))
        for name in CHANGES:
            one = await api.get(f"/v1/semantic/{name}", params={"as_of": as_of})
            said.append(one.json())
    return said


async def expiries(redis: Redis) -> list[int]:
    found = await redis.keys("semantic_history:*")
    return sorted([await execute(redis, "EXPIRETIME", key) for key in found])


@pytest.mark.parametrize("name", FILES)
async def test_a_backtest_finds_the_past_after_an_import(
    name: str, settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    path = tmp_path / name
    async with running_service(settings) as api:
        moments = await live(api)
        said, ends = await history(api, moments), await expiries(redis)
        report = await export_to(path, redis, settings)
    assert len({orjson.dumps(one) for one in said[2::4]}) == CHANGES["c1"] + 1
    assert len({orjson.dumps(one) for one in said[3::4]}) == CHANGES["c2"] + 1
    assert (report.tally.semantic, report.tally.semantic_former) == (CONCEPTS, 8)
    await redis.flushall()
    await redis.hset(keys.SEMANTIC_PARTITION, "seq", 1000)  # another numbering
    imported = await import_from(path, redis, settings)
    assert (imported.created, imported.former) == (CONCEPTS, {"created": 8})
    assert await expiries(redis) == ends
    again = await import_from(path, redis, settings)
    assert (again.unchanged, again.former) == (CONCEPTS, {"unchanged": 8})
    async with running_service(settings) as api:
        assert await history(api, moments) == said
        await api.patch("/v1/semantic/c1", json={"sharpe_ratio": 9.0})
        assert await history(api, moments) == said
        for changed in CHANGES:
            assert (await api.delete(f"/v1/semantic/{changed}")).status_code == 204
    assert await redis.keys("semantic_history:*") == []


async def test_a_past_with_gaps_is_exported_and_goes_with_its_concept(
    settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    """Fewer changes are kept than before, and a later one has expired before an earlier one."""

    async def kept() -> dict[int, bytes]:
        found: list[bytes] = await execute(redis, "KEYS", "semantic_history:*")
        return {int(name.rpartition(b":")[2]): name for name in found}

    async with running_service(settings) as api:
        await api.post("/v1/semantic", json=concept(2))
        for i in range(6):
            await api.patch("/v1/semantic/c2", json={"sharpe_ratio": float(i)})
    assert sorted(await kept()) == [1, 2, 3, 4, 5, 6]
    fewer = settings.model_copy(update={"semantic_history_changes": 4})
    async with running_service(fewer) as api:
        await api.patch("/v1/semantic/c2", json={"sharpe_ratio": 9.0})
        assert sorted(await kept()) == [4, 5, 6, 7]
        await redis.unlink((await kept())[7])
        report = await export_to(tmp_path / "all.ndjson", redis, settings)
        assert report.tally.semantic_former == 3
        assert (await api.delete("/v1/semantic/c2")).status_code == 204
    assert await kept() == {}


async def test_the_past_of_another_concept_is_left_alone(
    api: httpx.AsyncClient, settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    """One that was changed since, one that is gone and new, one whose past has expired."""
    await live(api)
    await export_to(tmp_path / "all.ndjson", redis, settings)
    await api.patch("/v1/semantic/c2", json={"sharpe_ratio": 9.0})
    await api.delete("/v1/semantic/c1")
    await api.post("/v1/semantic", json=concept(1))
    there = await redis.keys("semantic_history:*")
    await redis.unlink(there[0])
    report = await import_from(tmp_path / "all.ndjson", redis, settings)
    assert sorted(report.conflicts) == [(None, "c1"), (None, "c2")]
    assert report.former == {"left_out": 8}
    assert sorted(await redis.keys("semantic_history:*")) == sorted(there[1:])


def rewritten(path: Path, rows: list[ExportRow], version: int) -> Path:
    """A sound file of these rows."""
    header = replace(read_header(path), version=version)
    with PartialFile(path.with_name(f"version-{version}"), compressed=False) as file:
        file.open(header)
        file.append(rows)
        file.finish()
        return file.path


async def test_what_has_expired_is_not_put_back(
    api: httpx.AsyncClient, settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    await live(api)
    path = tmp_path / "all.ndjson"
    await export_to(path, redis, settings)
    rows = list(read_rows(path))
    expired = int(time.time()) - 1
    for i, row in enumerate(rows):
        if row.former is not None and row.former.number <= 5:
            rows[i] = replace(row, former=replace(row.former, expires_at=expired))
    await redis.flushall()
    report = await import_from(rewritten(path, rows, 2), redis, settings)
    assert report.former == {"created": 2, "left_out": 6}
    assert len(await redis.keys("semantic_history:*")) == 2
    assert "2 restored, 0 already there, 6 skipped" in former_text(report)


async def test_a_file_of_the_version_before_is_read_and_says_what_it_lacks(
    api: httpx.AsyncClient, settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    await live(api)
    path = tmp_path / "all.ndjson"
    await export_to(path, redis, settings)
    rows = [row for row in read_rows(path) if row.former is None]
    await redis.flushall()
    report = await import_from(rewritten(path, rows, 1), redis, settings)
    assert (report.created, report.changed, report.former) == (CONCEPTS, 2, {})
    assert former_text(report).startswith(
        "2 concepts had been changed, and the file has none of their earlier revisions"
    )


async def test_a_parquet_file_of_the_version_before_is_read(
    api: httpx.AsyncClient, settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    batch = {"memories": [concept(i) for i in range(CONCEPTS)]}
    assert (await api.post("/v1/semantic/batch", json=batch)).json()["failed"] == 0
    path = tmp_path / "all.parquet"
    await export_to(path, redis, settings)
    table = parquet.read_table(path)
    old = dict(table.schema.metadata)
    for name in (b"coinswarm_header", b"coinswarm_end"):
        content = orjson.loads(old[name])
        content.pop("semantic_former", None)
        old[name] = orjson.dumps(content | {"version": 1} if "version" in content else content)
    parquet.write_table(table.drop_columns(["former"]).replace_schema_metadata(old), path)
    await redis.flushall()
    assert (await import_from(path, redis, settings)).created == CONCEPTS
