"""`python -m app keys`: made, listed, revoked; in a file and in Redis, heard by all workers."""

import stat
import time
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from app.embedded import EmbeddedNode
from tests.commands.app_process import run_app, run_app_apart
from tests.kit.service_process import NO_TLS, service_process, until_ready


def keys(*words: str, **settings: object) -> str:
    status, said, trouble = run_app_apart("keys", *words, **settings)
    assert status == 0, trouble
    return said


def last_line(text: str) -> str:
    return text.splitlines()[-1]


def until_status(url: str, key: str, wanted: int, in_a_row: int = 1) -> None:
    """Each request is a connection of its own, so that every worker is asked."""
    give_up_at = time.monotonic() + 60
    seen = 0
    while seen < in_a_row:
        assert time.monotonic() < give_up_at
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        status = httpx.get(
            f"{url}/v1/semantic/none", headers=headers, timeout=30, verify=NO_TLS
        ).status_code
        seen = seen + 1 if status == wanted else 0


def test_keys_in_redis_are_taken_over_and_given_up_by_all_workers(
    redis_node: EmbeddedNode, redis: Redis
) -> None:
    settings = {"redis_url": redis_node.url, "dimension": 8}
    with service_process(workers=2, **settings) as service:
        until_ready(service)
        until_status(service.url, "", 404)
        key = last_line(keys("create", "--role", "write", "--agent", "agent_1", **settings))
        until_status(service.url, "", 401, in_a_row=20)
        until_status(service.url, key, 404, in_a_row=20)
        listed = keys("list", **settings)
        assert "agent_1" in listed
        assert key not in listed
        assert key.split("_")[2] not in listed
        keys("revoke", key.split("_")[1], **settings)
        until_status(service.url, key, 401, in_a_row=20)
        assert "REVOKED" in keys("list", **settings)
        until_status(service.url, "", 401, in_a_row=20)


@pytest.mark.parametrize("days", ["nan", "inf", "-1", "0", "1e9"])
def test_a_key_that_cannot_expire_then_is_not_made(tmp_path: Path, days: str) -> None:
    file = tmp_path / "keys"
    words = ("keys", "create", "--role", "read", "--expires-days", days)
    status, said = run_app(*words, api_keys_file=file)
    assert (status, said.count("\n")) == (1, 1)
    assert said.startswith("--expires-days: must be above 0")
    assert not file.exists()


def test_keys_in_a_file(redis_node: EmbeddedNode, redis: Redis, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    settings = {"redis_url": redis_node.url, "dimension": 8, "api_keys_file": file}
    with service_process(**settings) as service:
        until_status(service.url, "", 401)
        key = last_line(keys("create", "--role", "read", **settings))
        other = last_line(keys("create", "--role", "read", "--note", "stays", **settings))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        for kept in (key, other):
            until_status(service.url, kept, 404)
            assert kept not in file.read_text()
        keys("revoke", key, **settings)
        until_status(service.url, key, 401)
        until_status(service.url, other, 404)


@pytest.mark.parametrize("words", [["--agent", "a{b}"], ["--limit-top-k", "0"]])
def test_wrong_words_make_no_key(tmp_path: Path, words: list[str]) -> None:
    file = tmp_path / "keys"
    with pytest.raises(AssertionError):
        keys("create", "--role", "read", *words, api_keys_file=file)
    assert not file.exists()
    assert keys("list", api_keys_file=file) == "There are no keys.\n"
