import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import orjson
import pytest

from demo.episodes import agent_batches
from demo.filling import INTERRUPTED, store, summary
from demo.loader import LoadReport
from demo.market import market_windows
from demo.service import NoServiceError, require_service
from tests.demo.bar import Bar
from tests.demo.synthetic import random_market

WINDOWS = market_windows(random_market(days=560, products=3))
Answer = Callable[[httpx.Request], httpx.Response]


class Service:
    """Keeps ids as the service does. `trouble` may answer first, with None for no trouble."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[str, Any]] = {}
        self.under_way = 0
        self.most_under_way = 0
        self.requests = 0
        self.trouble: Callable[[int], httpx.Response | None] = lambda number: None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        number = self.requests
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0.002)
        self.under_way -= 1
        answer = self.trouble(number)
        return self._store(orjson.loads(request.content)) if answer is None else answer

    def _store(self, body: dict[str, Any]) -> httpx.Response:
        results = []
        for index, memory in enumerate(body["memories"]):
            known = self.stored.setdefault(memory["id"], memory)
            status = "created" if known is memory else "unchanged"
            result = {"index": index, "id": memory["id"], "status": status}
            if known != memory:
                result |= {"status": "error", "error": problem(409, retryable=False)}
            results.append(result)
        return httpx.Response(200, json={"results": results})


def problem(status: int, *, retryable: bool) -> dict[str, object]:
    return {
        "status": status,
        "code": "trouble",
        "retryable": retryable,
        "detail": f"trouble {status}",
    }


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.MockTransport(service)
    async with httpx.AsyncClient(base_url="http://memory", transport=transport) as opened:
        yield opened


async def load(client: httpx.AsyncClient, bar: Bar) -> tuple[LoadReport, str | None]:
    return await store(client, WINDOWS, batch=10, in_flight=2, bar=bar)


async def test_everything_is_stored_once_and_a_second_run_finds_it_unchanged(
    service: Service, client: httpx.AsyncClient
) -> None:
    bar = Bar()
    report, ended = await load(client, bar)
    assert (report.created, report.unchanged, report.failed) == (len(WINDOWS), 0, 0)
    assert ended is None
    assert bar.moved == len(service.stored) == len(WINDOWS)
    assert service.most_under_way == 2
    report, ended = await load(client, Bar())
    assert (report.created, report.unchanged, report.failed) == (0, len(WINDOWS), 0)
    assert summary(report).startswith(f"Stored 0, unchanged {len(WINDOWS)}, failed 0 in ")


async def test_a_busy_service_and_a_lost_answer_are_tried_again(
    service: Service, client: httpx.AsyncClient
) -> None:
    def trouble(number: int) -> httpx.Response | None:
        if number == 1:
            return httpx.Response(503, json=problem(503, retryable=True))
        if number == 2:
            raise httpx.ReadTimeout("slow")
        if number == 3:
            return httpx.Response(502, text="bad gateway")
        return None

    service.trouble = trouble
    report, ended = await load(client, Bar())
    assert (report.confirmed, report.failed, ended) == (len(WINDOWS), 0, None)


async def test_only_the_memories_that_may_be_tried_again_are(
    service: Service, client: httpx.AsyncClient
) -> None:
    def trouble(number: int) -> httpx.Response | None:
        if number > 1:
            return None
        errors = [problem(503, retryable=True), problem(409, retryable=False)] + [None] * 8
        results = [
            {"index": index, "status": "error", "error": error} if error else {"status": "created"}
            for index, error in enumerate(errors)
        ]
        return httpx.Response(200, json={"results": results})

    service.trouble = trouble
    bar = Bar()
    report, ended = await load(client, bar)
    assert (report.created, report.failed, ended) == (len(WINDOWS) - 1, 1, None)
    assert bar.moved == len(WINDOWS)
    assert summary(report).endswith("\n  1 failed (trouble): trouble 409")


async def test_a_refusal_ends_the_load_with_its_reason(
    service: Service, client: httpx.AsyncClient
) -> None:
    service.trouble = lambda number: httpx.Response(422, json=problem(422, retryable=False))
    report, ended = await load(client, Bar())
    assert report.confirmed == 0
    assert ended is not None
    assert "trouble 422" in ended
    assert service.requests <= 2


@pytest.fixture
def ctrl_c_interrupts() -> Iterator[None]:
    """As in a terminal, also where the suite was started with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_interrupts")
async def test_ctrl_c_finishes_what_is_under_way_and_the_next_run_goes_on(
    service: Service, client: httpx.AsyncClient
) -> None:
    def interrupt_once(number: int) -> httpx.Response | None:
        if number == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return None

    service.trouble = interrupt_once
    bar = Bar()
    report, ended = await load(client, bar)
    assert ended == INTERRUPTED
    assert 0 < report.created == len(service.stored) < len(WINDOWS)
    assert len(bar.lines) == 1
    second, ended = await load(client, Bar())
    assert ended is None
    assert second.unchanged == report.created
    assert len(service.stored) == len(WINDOWS) == second.confirmed


@pytest.mark.usefixtures("ctrl_c_interrupts")
async def test_ctrl_c_ends_a_wait_for_a_busy_service(
    service: Service, client: httpx.AsyncClient
) -> None:
    def busy(number: int) -> httpx.Response | None:
        if number == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return httpx.Response(503, json=problem(503, retryable=True))

    service.trouble = busy
    report, ended = await load(client, Bar())
    assert (report.confirmed, ended) == (0, INTERRUPTED)
    assert service.requests <= 4


def test_without_a_service_the_sentence_says_what_to_run() -> None:
    with pytest.raises(NoServiceError, match="run `make serve` in another terminal"):
        require_service("http://127.0.0.1:9")


def test_every_batch_can_be_built_again() -> None:
    one, two = ([list(b) for b in agent_batches(WINDOWS, 50)] for _ in range(2))
    assert one == two
