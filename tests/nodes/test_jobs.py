"""Jobs beside the requests go on after any error, say so, and end when they are told to."""

import ast
import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import errors
from app.errors import ExtraMissing, InvalidInput, StorageUnavailable
from app.nodes.jobs import JOBS, Job, OwnerFailures, periodically, running

APP = Path(errors.__file__).parent


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.nodes.jobs.FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr("app.nodes.jobs.LONGEST_PAUSE_S", 0.01)


async def told(name: str) -> object:
    jobs = (await JOBS.probe())["jobs"]
    assert isinstance(jobs, dict)
    return jobs.get(name)


async def status() -> object:
    return (await JOBS.probe())["status"]


@pytest.mark.parametrize(
    "error", [StorageUnavailable("gone"), OSError(24, "Too many open files"), ZeroDivisionError()]
)
async def test_a_round_that_fails_is_tried_again_and_told(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    turns, failed, may_succeed, done = 0, asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        nonlocal turns
        turns += 1
        if turns <= 3:
            raise error
        failed.set()
        await may_succeed.wait()
        if turns == 5:
            done.set()

    async with periodically(work, 0.001, "work"):
        await failed.wait()
        said = await told("work")
        assert isinstance(said, dict)
        assert (said["status"], said["failures_in_a_row"]) == ("degraded", 3)
        assert await status() == "degraded"
        may_succeed.set()
        await done.wait()
        said = await told("work")
        assert isinstance(said, dict)
        assert said["status"] == "ok"
        assert said["last_success"] is not None
    assert "work failed, tried again in" in caplog.text
    assert "restart the service" not in caplog.text
    assert await told("work") is None


async def test_a_long_interval_is_not_waited_for_after_a_failure() -> None:
    turns, done = 0, asyncio.Event()

    async def work() -> None:
        nonlocal turns
        turns += 1
        if turns < 3:
            raise ZeroDivisionError
        done.set()

    async with asyncio.timeout(60), periodically(work, 3600, "work", begins_at_once=True):
        await done.wait()


async def test_work_that_never_returns_starts_again() -> None:
    begun, done = 0, asyncio.Event()

    async def work(job: Job) -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise ValueError("wrong")
        job.succeeded()
        done.set()
        await asyncio.sleep(3600)

    async with asyncio.timeout(60), running(work, "listening"):
        await done.wait()
        assert begun == 3
        said = await told("listening")
        assert isinstance(said, dict)
        assert said["status"] == "ok"


def test_pauses_double_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.nodes.jobs.FIRST_PAUSE_S", 1.0)
    monkeypatch.setattr("app.nodes.jobs.LONGEST_PAUSE_S", 60.0)
    job = Job("work")
    assert [job.failed(ValueError()) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    job.succeeded()
    assert job.failed(ValueError()) == 1


async def test_ends_though_a_cancellation_was_lost() -> None:
    lost = 0

    async def work(_: Job) -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if lost == 2:
                    raise
                lost += 1

    async with asyncio.timeout(60):
        async with running(work, "stubborn"):
            await asyncio.sleep(0)
    assert lost == 2


async def test_no_text_of_an_unexpected_error_is_told() -> None:
    with JOBS.entered("work") as job:
        job.failed(ValueError("what an agent stored"))
        assert "stored" not in str(await told("work"))


def test_one_owners_error_stops_no_other() -> None:
    failures, done = OwnerFailures("work"), []
    errors = [ValueError("a"), None, InvalidInput("c"), StorageUnavailable("d"), None, KeyError(1)]
    for name, error in zip("abcdef", errors, strict=True):
        with failures.isolating(name):
            if error is not None:
                raise error
            done.append(name)
    assert (done, failures.count) == (["b", "e"], 4)
    assert failures.named[0] == "a: a"


def test_a_storage_that_fails_for_one_owner_after_the_other_ends_the_round() -> None:
    failures = OwnerFailures("work")
    for name in "ab":
        with failures.isolating(name):
            raise StorageUnavailable("gone")
    with pytest.raises(StorageUnavailable), failures.isolating("c"):
        raise StorageUnavailable("gone")
    with pytest.raises(ExtraMissing), failures.isolating("c"):
        raise ExtraMissing("install it")


RESERVED = {*vars(logging.makeLogRecord({})), "message", "asctime", "request_id"}


def _extras() -> Iterator[tuple[str, ast.expr]]:
    for path in APP.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                is_log = isinstance(node.func.value, ast.Name) and node.func.value.id == "logger"
                extras = [word.value for word in node.keywords if word.arg == "extra"]
                yield from ((f"{path.name}:{node.lineno}", e) for e in extras if is_log)


def test_no_log_line_takes_a_name_that_logging_reserves() -> None:
    """`logging` refuses such a line: the job that writes it would end."""
    found = dict(_extras())
    assert len(found) > 10
    for place, extra in found.items():
        assert isinstance(extra, ast.Dict), f"{place}: write the names out"
        names = [key.value for key in extra.keys if isinstance(key, ast.Constant)]
        assert len(names) == len(extra.keys), f"{place}: write the names out"
        assert RESERVED.isdisjoint(names), f"{place}: {RESERVED & set(names)} is reserved"
