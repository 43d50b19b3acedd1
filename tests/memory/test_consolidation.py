"""Consolidation finds the patterns that are there, once, and follows them as they change."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx
import numpy as np
import pytest
from redis.asyncio import Redis

from app.commands import consolidate
from app.memory.consolidation.pattern import TRANSITIONS, Status, Trend
from app.memory.consolidation.report import Consolidated, Consolidation
from app.service import start
from app.settings import Settings
from tests.conftest import DIMENSION, running_service

NOW = 1_790_000_000.0
DAY_S = 86_400.0


def memories(
    agent_id: str, axis: int, rewards: Sequence[float], *, start: int = 0, **fields: Any
) -> list[dict[str, Any]]:
    """Closed memories in states about one axis, a minute apart, latest at NOW."""
    random = np.random.default_rng(axis * 1000 + start)
    made = []
    for i, reward in enumerate(rewards, start):
        state = random.normal(0, 0.05, DIMENSION)
        state[axis] += 1
        made.append(
            {
                "id": f"{axis}-{i}",
                "agent_id": agent_id,
                "product_id": "BTC-USD",
                "regime": "bull",
                "action": "buy" if i % 2 else "sell",
                "reward": reward,
                "timestamp": NOW - 60.0 * (i + 1),
                "outcome_at": NOW - 60.0 * i,
                "state_vector": state.tolist(),
            }
            | fields
        )
    return made


async def store(api: httpx.AsyncClient, batch: list[dict[str, Any]]) -> None:
    answer = await api.post("/v1/episodic/batch", json={"memories": batch})
    assert answer.json()["failed"] == 0, answer.text


async def consolidated(settings: Settings, until: float = NOW, **asked: Any) -> Consolidated:
    async with AsyncExitStack() as stack:
        services = await start(settings, stack)
        request = Consolidation(until=until, **{"dry_run": False} | asked)
        return await services.consolidation.run(request)


async def patterns(api: httpx.AsyncClient) -> list[dict[str, Any]]:
    page = await api.post("/v1/semantic/query", json={"memory_type": "PATTERN", "limit": 1000})
    found: list[dict[str, Any]] = page.json()["memories"]
    return found


GOOD = [0.02 + 0.005 * (-1) ** i for i in range(120)]
POOR = [0.01 * (-1) ** i for i in range(120)]


async def test_each_cluster_becomes_a_pattern_with_its_figures(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    await store(api, memories("a", 0, GOOD) + memories("a", 3, POOR))

    report = await consolidated(settings)

    assert (report.created, report.promoted, report.left_out) == (2, 1, 0)
    found = {round(p["metadata"]["mean_reward"], 4): p for p in await patterns(api)}
    good = found[0.02]
    rewards = np.array(GOOD)
    assert good["metadata"]["n"] == 120
    assert good["metadata"]["status"] == "promoted"
    assert good["win_rate"] == 1.0
    assert good["sharpe_ratio"] == pytest.approx(rewards.mean() / rewards.std(ddof=1))
    assert good["metadata"]["q05_reward"] == pytest.approx(np.quantile(rewards, 0.05))
    assert good["metadata"]["q95_reward"] == pytest.approx(np.quantile(rewards, 0.95))
    assert good["metadata"]["stdev_reward"] == pytest.approx(rewards.std(ddof=1))
    assert good["metadata"]["actions"]["buy"]["mean_reward"] == pytest.approx(0.015)
    assert {e["agent_id"] for e in good["metadata"]["episodes"]} == {"a"}
    assert {e["id"].split("-")[0] for e in good["metadata"]["episodes"]} == {"0"}
    assert found[0.0]["metadata"]["status"] == "candidate"
    whole = (await api.get(f"/v1/semantic/{good['id']}")).json()
    assert int(np.argmax(whole["concept_vector"])) == 0
    assert np.linalg.norm(whole["concept_vector"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("vector_type", ["float32", "float16"])
async def test_a_second_run_changes_nothing_and_a_dry_run_writes_nothing(
    settings: Settings, redis: Redis, vector_type: str
) -> None:
    chosen = settings.model_copy(update={"vector_type": vector_type})
    async with running_service(chosen) as api:
        await store(api, memories("a", 0, GOOD) + memories("a", 3, POOR) + memories("b", 1, GOOD))

        dry = await consolidated(chosen, dry_run=True)
        assert (dry.created, await patterns(api)) == (3, [])
        first = await consolidated(chosen)
        before = await patterns(api)
        second = await consolidated(chosen)

        assert (first.created, first.owners) == (3, 2)
        assert (second.created, second.updated, second.unchanged) == (0, 0, 3)
        assert await patterns(api) == before


async def test_new_memories_update_their_pattern_and_a_fall_deprecates_it(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    await store(api, memories("a", 0, GOOD))
    await consolidated(settings)
    (before,) = await patterns(api)
    note = before["metadata"] | {"note": "seen by a human"}
    await api.patch(f"/v1/semantic/{before['id']}", json={"metadata": note})

    await store(api, memories("a", 0, [-0.03] * 40, start=200))
    report = await consolidated(settings)

    (after,) = await patterns(api)
    assert (report.updated, report.deprecated) == (1, 1)
    assert after["id"] == before["id"]
    assert after["metadata"]["n"] == 160
    assert after["metadata"]["status"] == "deprecated"
    assert after["metadata"]["note"] == "seen by a human"
    assert "fallen" in after["metadata"]["status_reason"]


async def test_a_pattern_that_nothing_recent_is_near_is_deprecated(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    await store(api, memories("a", 0, GOOD))
    await consolidated(settings)
    report = await consolidated(settings, until=NOW + 60 * DAY_S)
    again = await consolidated(settings, until=NOW + 60 * DAY_S)

    (pattern,) = await patterns(api)
    assert (report.experiences, report.deprecated) == (0, 1)
    assert pattern["metadata"]["status"] == "deprecated"
    assert pattern["metadata"]["n"] == 120
    assert (again.updated, again.unchanged) == (0, 1)


async def test_only_what_was_known_then_counts_and_each_regime_is_clustered_alone(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    await store(api, memories("a", 0, GOOD))
    await store(api, memories("a", 0, GOOD, start=300, regime="bear"))
    await store(api, memories("a", 0, [9.0] * 50, start=600, outcome_at=NOW + 1))
    opened = memories("a", 0, [0.0] * 50, start=800)
    await store(
        api, [{k: v for k, v in m.items() if k not in ("reward", "outcome_at")} for m in opened]
    )

    report = await consolidated(settings)

    assert report.experiences == 240
    found = await patterns(api)
    assert {(p["regime_name"], p["metadata"]["n"]) for p in found} == {("bull", 120), ("bear", 120)}
    # The best of all that were tried for the owner, in whatever regime, was chosen.
    assert {p["metadata"]["trials"] for p in found} == {2}
    assert (await consolidated(settings)).unchanged == 2


@pytest.mark.parametrize("layout", ["per_agent", "shared"])
async def test_a_product_is_consolidated_over_all_agents(
    redis: object, settings: Settings, layout: Any
) -> None:
    settings = settings.model_copy(update={"layout": layout})
    async with running_service(settings) as api:
        await store(api, memories("a", 0, GOOD[:90]) + memories("b", 0, GOOD[:90]))
        await store(api, memories("b", 2, GOOD, product_id="ETH-USD"))
        report = await consolidated(settings, product_id="BTC-USD")
        (pattern,) = await patterns(api)
    assert report.created == 1
    assert pattern["metadata"]["product_id"] == "BTC-USD"
    assert pattern["metadata"]["n"] == 180
    assert {e["agent_id"] for e in pattern["metadata"]["episodes"]} == {"a", "b"}


async def test_few_or_equal_states_and_foreign_patterns_do_no_harm(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    same = [m | {"state_vector": [1.0] * DIMENSION} for m in memories("a", 0, GOOD)]
    foreign = {"id": "mine", "memory_type": "PATTERN", "regime_name": "bull", "win_rate": 0.5}
    await api.post(
        "/v1/semantic",
        json=foreign | {"sharpe_ratio": 1.0, "concept_vector": [1.0] * DIMENSION},
    )
    await store(api, same + memories("few", 1, [0.1] * 9))

    report = await consolidated(settings)

    assert (report.created, report.updated, report.left_out) == (1, 0, 9)
    mine = next(p for p in await patterns(api) if p["id"] == "mine")
    assert mine["metadata"] == {}


def mirrored() -> list[dict[str, Any]]:
    """States and their mirror images, as augmentation makes them: their mean has no direction."""
    made = memories("b-odd", 0, GOOD[:12])
    state = made[0]["state_vector"]
    opposite = [-x for x in state]
    return [m | {"state_vector": state if i % 2 else opposite} for i, m in enumerate(made)]


def free_text() -> list[dict[str, Any]]:
    made = memories("b-odd", 0, GOOD)
    return [
        m | {"action": f"buy {i} of it, limit order, stop at {i}, \u00e9"}
        for i, m in enumerate(made)
    ]


ODD = {
    "mirrored": (mirrored, 0, 0),
    "sentinels": (lambda: memories("b-odd", 0, [1.79e308, -1.79e308] * 6), 0, 1),
    "huge": (lambda: memories("b-odd", 0, [1e308] * 12), 1, 0),
    "free text": (free_text, 1, 0),
}


@pytest.mark.parametrize("odd", ODD)
async def test_one_owners_odd_memories_keep_no_other_from_its_patterns(
    api: httpx.AsyncClient, settings: Settings, odd: str
) -> None:
    make, made, failed = ODD[odd]
    await store(api, memories("a", 0, GOOD) + make() + memories("c", 0, GOOD))

    report = await consolidated(settings)
    again = await consolidated(settings)

    owners = [p["metadata"]["agent_id"] for p in await patterns(api)]
    assert sorted(owners) == ["a", *["b-odd"] * made, "c"]
    assert (report.created, report.failed) == (2 + made, failed)
    assert all(text.startswith("b-odd, regime bull: ") for text in report.failed_owners)
    assert (again.created, again.updated, again.unchanged) == (0, 0, 2 + made)
    assert report.left_out == (0 if made else 12)
    if odd == "free text":
        found = next(p for p in await patterns(api) if p["metadata"]["agent_id"] == "b-odd")
        shown = found["metadata"]["actions"]
        assert len(shown) + found["metadata"]["other_actions"] == 120
        assert len(shown) >= 10


@pytest.mark.parametrize(
    ("memory_id", "metadata"),
    [
        ("mine", {"source": "consolidation", "note": "merged by hand"}),
        ("pattern-" + 32 * "0", {"source": "consolidation"}),
        ("pattern-" + 32 * "0", {"source": "consolidation", "agent_id": {}, "status": 1, "n": "x"}),
    ],
)
async def test_a_concept_that_only_says_it_was_made_here_is_left_alone(
    api: httpx.AsyncClient, settings: Settings, memory_id: str, metadata: dict[str, Any]
) -> None:
    concept = {"id": memory_id, "memory_type": "PATTERN", "regime_name": "bull", "win_rate": 0.5}
    concept |= {"sharpe_ratio": 1.0, "concept_vector": [1.0] * DIMENSION, "metadata": metadata}
    assert (await api.post("/v1/semantic", json=concept)).status_code == 201
    await store(api, memories("a", 0, GOOD))
    assert (await consolidated(settings)).created == 1
    assert (await consolidated(settings, until=NOW + 60 * DAY_S)).deprecated == 1
    left = (await api.get(f"/v1/semantic/{memory_id}")).json()
    assert left["metadata"] == metadata


async def test_a_copy_of_a_pattern_is_no_pattern_of_ours(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    await store(api, memories("a", 0, GOOD))
    await consolidated(settings)
    (made,) = await patterns(api)
    whole = (await api.get(f"/v1/semantic/{made['id']}")).json()
    names = ("memory_type", "regime_name", "concept_vector", "sharpe_ratio", "win_rate", "metadata")
    copy = {"id": "copy", **{name: whole[name] for name in names}}
    assert (await api.post("/v1/semantic", json=copy)).status_code == 201
    report = await consolidated(settings, until=NOW + 60 * DAY_S)
    assert (report.updated, report.deprecated) == (1, 1)
    left = (await api.get("/v1/semantic/copy")).json()["metadata"]
    assert left == whole["metadata"]


async def test_the_service_consolidates_again_and_again_and_says_when_it_cannot(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault within: the job is tried again, told by /readyz and counted."""
    chosen = settings.model_copy(update={"consolidation_interval_s": 0.2})
    monkeypatch.setattr("app.nodes.jobs.FIRST_PAUSE_S", 0.05)
    async with running_service(chosen) as api, asyncio.timeout(90):
        for agent_id in ("a", "b"):
            await store(
                api,
                memories(
                    agent_id, 0, GOOD[:20], timestamp=time.time() - 5, outcome_at=time.time() - 4
                ),
            )
            while agent_id not in [p["metadata"]["agent_id"] for p in await patterns(api)]:
                await asyncio.sleep(0.05)
        ready = (await api.get("/readyz")).json()
        assert ready["parts"]["jobs"]["jobs"]["consolidation"]["status"] == "ok"
        assert (
            'memory_job_last_success_timestamp_seconds{task="consolidation"}'
            in (await api.get("/metrics")).text
        )
        with monkeypatch.context() as patch:
            patch.setattr("app.memory.consolidation.run.MAX_PAGE", None)
            while (ready := (await api.get("/readyz")).json())["status"] != "degraded":
                await asyncio.sleep(0.05)
            told = ready["parts"]["jobs"]["jobs"]["consolidation"]
            assert told["status"] == "degraded"
            assert told["last_success"] is not None
        while (await api.get("/readyz")).json()["status"] != "ok":
            await asyncio.sleep(0.05)


def test_every_status_and_finding_has_a_transition() -> None:
    assert set(TRANSITIONS) == {(status, found) for status in Status for found in Trend}


def test_the_summary_says_that_a_dry_run_wrote_nothing() -> None:
    report = Consolidated(dry_run=True, since=0, until=1, created=2, experiences=300, owners=1)
    text = consolidate.summary(report)
    assert "2 new" in text
    assert "repeat with --apply" in text
