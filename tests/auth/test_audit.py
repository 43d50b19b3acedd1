"""What was confirmed stands in the audit log, whatever kills the service."""

import asyncio
import os
import resource
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from redis.asyncio import Redis

from app.auth.audit import Audit
from app.embedded import EmbeddedNode
from app.errors import AuditUnavailable
from app.settings import Settings
from tests.auth.keyed_service import concept, keyed_service, memory, with_keys
from tests.auth.test_keys_command import keys
from tests.conftest import running_service
from tests.kit.service_process import NO_TLS, service_process, until_workers


def entries(file: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in file.read_bytes().splitlines() if line]


async def test_who_did_what_to_how_many(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    async with keyed_service(with_keys(settings, tmp_path, audit_file=file)) as service:
        admin = await service.caller("admin")
        key_id = (await service.store.read())[0].id
        batch = [memory("one", f"m{i}", timestamp=1.0) for i in range(5)]
        await admin.post("/v1/episodic/batch", json={"memories": batch})
        await admin.post("/v1/semantic", json=concept("c"))
        await admin.post("/v1/episodic/delete", json={"agent_id": "one", "dry_run": True})
        assert not file.exists()
        named = await admin.delete("/v1/episodic/one/m0", headers={"X-Request-Id": "mine"})
        assert named.status_code == 204
        assert (await admin.delete("/v1/episodic/one/m0")).status_code == 404
        query = {"agent_id": "one", "regime": "r", "until": 2.0, "dry_run": False}
        await admin.post("/v1/episodic/delete", json=query)
        await admin.delete("/v1/semantic/c")
        await admin.post("/v1/episodic", json=memory("one", "old", timestamp=1.0))
        await admin.post("/v1/retention", json={"dry_run": False, "episodic_age_by": "timestamp"})
    found = entries(file)
    assert {entry["key_id"] for entry in found} == {key_id}
    assert [entry["event"] for entry in found] == ["begun", "done"] * 5
    done = found[1::2]
    assert [(e["action"], e.get("deleted", e.get("experiences"))) for e in done] == [
        ("delete", True),
        ("delete", False),
        ("delete_by_filter", 4),
        ("delete_concept", True),
        ("retention", 1),
    ]
    assert done[4]["concepts"] == 0
    assert (done[0]["agent_id"], done[0]["memory_id"]) == ("one", "m0")
    assert done[0]["request_id"] == "mine"
    assert done[2]["asked"]["regime"] == ["r"]
    assert file.stat().st_mode & 0o077 == 0


def test_changes_of_keys_are_written_down_without_the_key(tmp_path: Path) -> None:
    settings = {"api_keys_file": tmp_path / "keys", "audit_file": tmp_path / "audit.log"}
    key = keys("create", "--role", "read", "--agent", "one", **settings).splitlines()[-1]
    keys("revoke", key.split("_")[1], **settings)
    found = entries(tmp_path / "audit.log")
    assert [entry["action"] for entry in found] == ["key_create"] * 2 + ["key_revoke"] * 2
    assert {entry["target"] for entry in found} == {key.split("_")[1]}
    assert {entry["key_id"] for entry in found} == {f"command of uid {os.getuid()}"}
    assert key not in (tmp_path / "audit.log").read_text()


async def test_nothing_is_deleted_that_cannot_be_written_down(
    settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "folder" / "audit.log"
    async with running_service(settings.model_copy(update={"audit_file": file})) as api:
        await api.post("/v1/episodic", json=memory("one", "m"))
        refused = await api.delete("/v1/episodic/one/m")
        assert (refused.status_code, refused.json()["code"]) == (503, "audit_unavailable")
        assert (await api.get("/v1/episodic/one/m")).status_code == 200
        file.parent.mkdir()
        assert (await api.delete("/v1/episodic/one/m")).status_code == 204


async def test_half_an_entry_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    audit = Audit(file)
    async with audit.action("first"):
        pass
    size = file.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))  # a full disk
    try:
        with pytest.raises(AuditUnavailable):
            async with audit.action("second"):
                raise AssertionError("must not begin")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert file.stat().st_size == size + 20
    async with audit.action("third"):
        pass
    lines = file.read_bytes().splitlines()
    assert [orjson.loads(line)["action"] for line in (*lines[:2], *lines[3:])] == [
        *("first", "first", "third", "third")
    ]


async def test_a_failed_action_says_so(tmp_path: Path) -> None:
    async def fail() -> None:
        async with Audit(tmp_path / "audit.log").action("delete") as outcome:
            outcome["deleted"] = 3
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await fail()
    assert [(e["event"], e.get("deleted")) for e in entries(tmp_path / "audit.log")] == [
        ("begun", None),
        ("failed", 3),
    ]


async def test_kill_loses_no_entry_of_a_confirmed_deletion(
    redis_node: EmbeddedNode, redis: Redis, tmp_path: Path
) -> None:
    file = tmp_path / "audit.log"
    settings = {"redis_url": redis_node.url, "dimension": 8, "audit_file": file}
    ids = [f"m{i}" for i in range(600)]
    confirmed = await asyncio.to_thread(deletions_until_killed, ids, settings)
    assert len(confirmed) >= 40
    found = entries(file)
    done = {e["memory_id"] for e in found if e["event"] == "done" and e["deleted"]}
    assert set(confirmed) <= done
    left = {i for i in ids if await redis.exists(f"episodic:{{one}}:{i}")}
    assert left, "all was done before the kill"
    begun = {entry["memory_id"] for entry in found if entry["event"] == "begun"}
    assert set(ids) - left <= begun, "gone without an entry"


def deletions_until_killed(ids: list[str], settings: dict[str, Any]) -> list[str]:
    """Delete through two workers until both are killed; what was confirmed."""
    with service_process(workers=2, **settings) as service:
        workers = until_workers(service, 2)
        with service.client() as client:
            batch = [memory("one", i) for i in ids]
            client.post("/v1/episodic/batch", json={"memories": batch})
        confirmed: list[list[str]] = [[] for _ in range(4)]
        threads = [
            threading.Thread(target=delete, args=(service.url, ids[n::4], confirmed[n]))
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        while sum(map(len, confirmed)) < 40:
            time.sleep(0.005)
        for process_id in (service.process.pid, *workers):
            os.kill(process_id, signal.SIGKILL)
        for thread in threads:
            thread.join()
        return [memory_id for each in confirmed for memory_id in each]


def delete(url: str, ids: list[str], confirmed: list[str]) -> None:
    with httpx.Client(base_url=url, timeout=30, verify=NO_TLS) as client:
        for memory_id in ids:
            try:
                if client.delete(f"/v1/episodic/one/{memory_id}").status_code == 204:
                    confirmed.append(memory_id)
            except httpx.TransportError:
                return
