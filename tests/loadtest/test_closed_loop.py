"""The generator of the stage and store benchmarks, on a real service."""

import asyncio

import httpx
import orjson
import pytest

from bench.load import closed_loop
from bench.studies._stages_report import CONTROL, DEFAULT, Cell, StageCheck, report
from bench.studies._workloads import WORKLOADS
from tests.conftest import DIMENSION

SECONDS = 1.0


def search(agent: str = "a") -> closed_loop.HttpRequest:
    body = {"agent_id": agent, "state_vector": [1.0] * DIMENSION}
    return closed_loop.post("/v1/episodic/search", orjson.dumps(body), kind="search")


async def test_counts_answers_and_those_from_the_cache(api: httpx.AsyncClient) -> None:
    asked: list[int] = []

    def source() -> closed_loop.HttpRequest:
        asked.append(1)
        return search()

    loads = [closed_loop.Load(source), closed_loop.Load(source, connections=3)]
    port = api.base_url.port
    assert port is not None
    figures = await asyncio.to_thread(closed_loop.run, port, loads, seconds=SECONDS, warm_up_s=0.0)
    found = len(figures.latencies_ms["search"])
    assert 0 < len(asked) <= found + 4, "no more than is answered, and what is under way at the end"
    assert 0 < figures.cached <= found
    assert figures.rate == pytest.approx(found / SECONDS)


async def test_an_unexpected_answer_fails_the_run(api: httpx.AsyncClient) -> None:
    loads = [closed_loop.Load(lambda: search(agent="{"))]
    port = api.base_url.port
    assert port is not None
    with pytest.raises(closed_loop.LoadFailed, match="invalid_input"):
        await asyncio.to_thread(closed_loop.run, port, loads, seconds=0.05)


def figures(rate: int) -> closed_loop.Figures:
    return closed_loop.Figures(1.0, 0.2, processor_s=0.3, latencies_ms={"search": [1.0] * rate})


def test_report_says_what_a_stage_buys_and_costs() -> None:
    rates = {DEFAULT: 150, CONTROL: 147, "all but cache": 100, "all but batcher": 200}
    measured = {
        Cell(variant, workload, 1): [figures(rate)]
        for workload in WORKLOADS
        for variant, rate in rates.items()
    }
    checks = [
        StageCheck("cache", "all but cache", "cache_enabled"),
        StageCheck("batcher", "all but batcher", "batch_enabled"),
    ]
    text = report(measured, checks, conditions="Here.", concurrency=[1])
    assert "| cache | -33 (+50) | -33 (+50) | -33 (+50) |" in text
    assert "(`MEMORY_CACHE_ENABLED`): saves work in distinct 1 (-33 %)" in text
    assert (
        "(`MEMORY_BATCH_ENABLED`): saves no work beyond noise; costs work in distinct 1 (+33 %)"
        in text
    )
