"""An export or import that was ended in the middle goes on; the result is whole, nothing twice."""

import resource
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from redis.asyncio import Redis

from app.errors import TransferRefused
from app.settings import Settings
from app.transfer import files
from app.transfer.files import read_rows
from tests.commands import app_process
from tests.transfer.filled import (
    CONCEPTS,
    EXPERIENCES,
    experience,
    export_to,
    fill,
    hashes,
    ignore_progress,
    import_from,
)

STORED = len(EXPERIENCES) - 3 + CONCEPTS
PAGE = 10
STOP_AT = 40

# The command itself, with pages of `PAGE` rows; it sends itself a signal, once, when a step has
# come so far.
ENDING_ITSELF = f"""
import os, signal, sys
from app.commands.command_line import run
from app.commands.progress import Progress
from app.transfer import files
files.PAGE_ROWS = {PAGE}
show, steps = Progress.show, [sys.argv[1]]
def show_then_end(self, what, done, total):
    show(self, what, done, total)
    if what in steps and done >= {STOP_AT}:
        steps.clear()
        os.kill(os.getpid(), signal.Signals[sys.argv[2]])
Progress.show = show_then_end
sys.exit(run(sys.argv[3:]))
"""


def run_app(
    *words: object, settings: Settings, end: tuple[str, str] | None = None
) -> tuple[int, str]:
    """Run a command; its exit status and all it said. `end`: at which step, by which signal."""
    assert settings.redis_url is not None
    chosen: dict[str, Any] = {
        "redis_url": settings.redis_url.get_secret_value(),
        "dimension": settings.dimension,
    }
    if end is None:
        return app_process.run_app(*words, **chosen)
    return app_process.run_app_process(*words, program=("-c", ENDING_ITSELF, *end), **chosen)


def ids(path: Path) -> Counter[tuple[str | None, str]]:
    return Counter((row.agent_id, row.memory_id) for row in read_rows(path))


@dataclass(frozen=True)
class Filled:
    """A service with a filled memory, its Redis and its settings."""

    api: httpx.AsyncClient
    redis: Redis
    settings: Settings


@pytest.fixture
async def filled(api: httpx.AsyncClient, redis: Redis, settings: Settings) -> Filled:
    await fill(api, redis)
    return Filled(api, redis, settings)


@pytest.mark.parametrize(
    ("name", "how"),
    [("all.ndjson", "SIGINT"), ("all.ndjson.gz", "SIGKILL"), ("all.parquet", "SIGINT")],
)
async def test_an_ended_export_goes_on(name: str, how: str, filled: Filled, tmp_path: Path) -> None:
    api, redis, settings = filled.api, filled.redis, filled.settings
    path, partial = tmp_path / name, tmp_path / f"{name}.partial"
    status, said = run_app("export", path, settings=settings, end=("Exporting", how))
    assert not path.exists()
    checkpoint = orjson.loads((tmp_path / f"{name}.partial.json").read_bytes())
    before = checkpoint["tally"]["episodic"]
    assert STOP_AT <= before < STOP_AT + 2 * PAGE
    if how == "SIGINT":
        assert status == 130
        assert "run the same command again" in said
        assert "Traceback" not in said
    with partial.open("ab") as file:  # what a kill leaves: half a page behind the checkpoint
        file.write(b'{"memory":"epis' * 100_000)
    await api.delete("/v1/episodic/bot/m9")
    await api.post("/v1/episodic", json=experience("Bot", 500))
    status, said = run_app("export", path, settings=settings)
    assert status == 0, said
    assert f"({before} by an earlier run)" in said
    found, there = ids(path), set(await hashes(redis))
    assert max(found.values()) == 1
    assert len(found) >= len(there) - 1
    expected = {(e["agent_id"], e["id"]) for e in EXPERIENCES} | {
        (None, f"c{i}") for i in range(CONCEPTS)
    }
    expected -= {("bot", f"m{i}") for i in (0, 7, 8, 9)}
    assert expected <= set(found) <= expected | {("bot", "m9"), ("Bot", "m500")}
    assert [p.name for p in tmp_path.iterdir()] == [name]


async def test_an_export_that_finds_no_room_says_so_and_goes_on_later(
    filled: Filled, tmp_path: Path
) -> None:
    path, settings = tmp_path / "all.ndjson", filled.settings
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        status, said = run_app("export", path, settings=settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 1
    assert f"{path} cannot be written (File too large): make room" in said
    assert run_app("export", path, settings=settings)[0] == 0
    assert len(ids(path)) == STORED


@pytest.mark.parametrize("step", ["Converting", "Checking"])
async def test_an_export_ended_after_its_walk_is_finished(
    step: str, filled: Filled, tmp_path: Path
) -> None:
    settings = filled.settings
    path = tmp_path / "all.parquet"
    status, said = run_app("export", path, settings=settings, end=(step, "SIGINT"))
    assert (status, "Traceback" in said) == (130, False), said
    assert not path.exists()
    assert run_app("export", path, settings=settings)[0] == 0
    assert max(ids(path).values()) == 1
    assert len(ids(path)) == STORED
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("name", "step", "how"),
    [
        ("all.ndjson.gz", "Importing", "SIGINT"),
        ("all.parquet", "Importing", "SIGKILL"),
        ("all.ndjson", "Counting", "SIGINT"),
    ],
)
async def test_an_ended_import_goes_on(
    name: str, step: str, how: str, filled: Filled, tmp_path: Path
) -> None:
    redis, settings = filled.redis, filled.settings
    stored, path = await hashes(redis), tmp_path / name
    await export_to(path, redis, settings)
    await redis.flushall()
    status, said = run_app("import", path, settings=settings, end=(step, how))
    part = await hashes(redis)
    if step == "Importing":
        assert STOP_AT <= len(part) < STORED
    if how == "SIGINT":
        assert (status, "Traceback" in said) == (130, False), said
    status, said = run_app("import", path, settings=settings)
    assert status == 0, said
    assert f"already there: {len(part)}; conflicts: 0" in said
    assert f"Counted in Redis: {STORED:,} ids of the file" in said
    assert await hashes(redis) == stored


async def test_a_memory_filled_anew_meanwhile_is_not_mixed(
    filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, redis, settings = filled.api, filled.redis, filled.settings
    monkeypatch.setattr(files, "PAGE_ROWS", PAGE)
    await export_to(tmp_path / "whole.ndjson", redis, settings)

    def give_up(what: str, done: int, total: int) -> None:
        if done >= STOP_AT:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await export_to(tmp_path / "all.ndjson", redis, settings, on_progress=give_up)
    await redis.flushall()
    await api.post("/v1/episodic", json=experience("Bot", 500))
    await import_from(tmp_path / "whole.ndjson", redis, settings)
    with pytest.raises(TransferRefused, match="refilled"):
        await export_to(tmp_path / "all.ndjson", redis, settings)


async def test_another_export_under_the_same_name_is_refused(
    filled: Filled, tmp_path: Path
) -> None:
    redis, settings = filled.redis, filled.settings
    path = tmp_path / "all.ndjson"
    assert run_app("export", path, settings=settings, end=("Exporting", "SIGKILL"))[0] == -9
    with pytest.raises(TransferRefused, match="belongs to another export"):
        await export_to(path, redis, settings, agent_id="bot")
    await export_to(path, redis, settings, on_progress=ignore_progress)
    with pytest.raises(TransferRefused, match="--overwrite"):
        await export_to(path, redis, settings)
    status, said = run_app("export", path, "--overwrite", "--agent", "bot", settings=settings)
    assert (status, len(ids(path))) == (0, 20), said
    assert run_app("export", path, settings=settings) == (
        1,
        f"{path} already exists: choose another name or --overwrite.\n",
    )
    status, said = run_app("export", tmp_path / "x", "--agent", "nobody", settings=settings)
    assert (status, said) == (1, "Agent nobody never stored a memory: check the name.\n")
