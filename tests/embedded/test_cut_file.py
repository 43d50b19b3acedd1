"""A cut append-only file is told, with the bytes that went, at a start and at a restart."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.embedded import EmbeddedNode, embedded_redis
from app.embedded.files import LOOK_INTERVAL_S
from app.settings import Settings

CUT_BYTES = 7


def cut(folder: Path) -> int:
    """Take some bytes off the last command; how much of it is left."""
    (path,) = (folder / "node-1" / "appendonlydir").glob("*.incr.aof")
    text = path.read_bytes()
    os.truncate(path, len(text) - CUT_BYTES)
    return len(text) - CUT_BYTES - text.rindex(b"*3\r\n")


async def fill(node: EmbeddedNode) -> int:
    """Write two keys to the disk; the server's process id."""
    async with Redis.from_url(node.url, protocol=2) as redis:
        for key in ("first", "second"):
            await redis.set(key, "value")
        await redis.execute_command("WAITAOF", 1, 0, 0)  # type: ignore[no-untyped-call]
        return int((await redis.info("server"))["process_id"])


def lost_bytes(caplog: pytest.LogCaptureFixture) -> list[int]:
    return [record.__dict__["lost_bytes"] for record in caplog.records if "cut" in record.message]


async def test_cut_file_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with embedded_redis(Settings(data_dir=tmp_path)) as topology:
        await fill(topology.master)
    left = cut(tmp_path)
    async with embedded_redis(Settings(data_dir=tmp_path)) as topology:
        assert lost_bytes(caplog) == [left]
        async with Redis.from_url(topology.master.url, protocol=2) as redis:
            assert await redis.keys() == [b"first"]
        # A node that dies and is started again meanwhile.
        server, guard = await fill(topology.master), topology.master.process.pid
        os.kill(guard, signal.SIGSTOP)
        os.kill(server, signal.SIGKILL)
        left_again = cut(tmp_path)
        os.kill(guard, signal.SIGCONT)
        async with asyncio.timeout(90):
            while len(lost_bytes(caplog)) < 2:
                await asyncio.sleep(0.05)
    assert lost_bytes(caplog) == [left, left_again]


async def test_a_rotated_log_ends_no_watch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with embedded_redis(Settings(data_dir=tmp_path)) as topology:
        log = tmp_path / "node-1" / "redis.log"
        log.rename(log.with_suffix(".log.1"))
        await asyncio.sleep(3 * LOOK_INTERVAL_S)
        log.write_text("a new log\n")
        server, guard = await fill(topology.master), topology.master.process.pid
        os.kill(guard, signal.SIGSTOP)
        os.kill(server, signal.SIGKILL)
        left = cut(tmp_path)
        os.kill(guard, signal.SIGCONT)
        async with asyncio.timeout(90):
            while not lost_bytes(caplog):
                await asyncio.sleep(0.05)
    assert lost_bytes(caplog) == [left]
    assert "looking for cut files failed" not in caplog.text
