"""Random histories of concepts: a question of a past moment gets what was true then.

Each history is lived through in the service and in a plain model, which keeps each concept's
contents with the times from which they held. Then every route is asked as of moments all over it.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from app.embedded import EmbeddedNode
from tests.kit.fakes import ManualClock
from tests.kit.memory_model import cosine_distance
from tests.kit.random_lives import service_by_clock, vectors

START = 1_700_000_000.0
CLOCK = ManualClock()
"""What the service takes for now."""

CHANGES_KEPT = 3
IDS = ["a", "b", "c"]
TYPES = ["PATTERN", "REGIME"]
REGIMES = ["bull", "bear"]
RATIOS = [-1.0, 0.5, 1.5, 2.5]

contents = {
    "memory_type": st.sampled_from(TYPES),
    "regime_name": st.sampled_from(REGIMES),
    "sharpe_ratio": st.sampled_from(RATIOS),
    "win_rate": st.sampled_from([0.2, 0.8]),
    "concept_vector": vectors,
    "metadata": st.dictionaries(st.just("note"), st.integers(0, 9), max_size=1),
}
changes = st.fixed_dictionaries({}, optional=contents).filter(bool)
clock_steps = st.sampled_from([0.0, 0.0, 0.25, -0.5, -2.0])
"""Seconds by which the clock goes on, or is put back, between two events."""

EVENTS = {
    "store": st.tuples(st.sampled_from(IDS), st.fixed_dictionaries(contents)),
    "patch": st.tuples(st.integers(0, 50), changes, clock_steps),
    "recall": st.tuples(vectors),
    "delete": st.tuples(st.integers(0, 50)),
    "delete_matching": st.tuples(st.sampled_from(REGIMES), st.sampled_from(RATIOS)),
    "retain": st.tuples(st.sampled_from([-2.0, *RATIOS])),
}
OFTEN = [*["store"] * 3, *["patch"] * 8, *EVENTS]
"""What happens, each as often as it is named here."""

events = st.sampled_from(OFTEN).flatmap(
    lambda name: EVENTS[name].map(lambda arguments: (name, *arguments))
)
first_stores = st.lists(
    EVENTS["store"].map(lambda arguments: ("store", *arguments)), min_size=1, max_size=3
)
filters = st.fixed_dictionaries(
    {},
    optional={
        "memory_type": st.sampled_from(TYPES),
        "regime_name": st.lists(st.sampled_from(REGIMES), min_size=1, max_size=2),
        "min_sharpe_ratio": st.sampled_from(RATIOS),
        "min_win_rate": st.just(0.5),
    },
)


@dataclass
class Concept:
    """One concept's contents, oldest first, each with the time from which it held."""

    created_at: float
    contents: list[tuple[float, dict[str, Any]]]
    hits: int = 0
    retired_at: float = float("inf")

    @property
    def now(self) -> dict[str, Any]:
        """What it is at last."""
        return self.contents[-1][1]

    def change(self, now: float, changed: dict[str, Any]) -> None:
        """It is something else from now on; the oldest of too many contents is forgotten."""
        since = max(now, self.contents[-1][0])
        self.contents = [*self.contents, (since, self.now | changed)][-1 - CHANGES_KEPT :]

    def at(self, moment: float) -> dict[str, Any] | None:
        """What it was then, if that is known."""
        if self.retired_at <= moment:
            return None
        held = [content for since, content in self.contents if since <= moment]
        return held[-1] if held else None


def meets(concept: dict[str, Any], conditions: dict[str, Any]) -> bool:
    """Whether a content meets all conditions of a request."""
    return all(
        concept[name.removeprefix("min_")] >= wanted
        if name.startswith("min_")
        else concept[name] in wanted
        for name, wanted in conditions.items()
    )


@dataclass
class History:
    """What the concepts were and when, and how they came to be in the service."""

    api: httpx.AsyncClient
    concepts: dict[str, Concept] = field(default_factory=dict)
    retired: list[tuple[str, Concept]] = field(default_factory=list)

    @property
    def now(self) -> float:
        """The service's clock, too."""
        return CLOCK.now_s

    async def store(self, concept_id: str, content: dict[str, Any]) -> None:
        """A new concept; one that is there keeps what it is. A clock that was put back would give
        one id two lives at once."""
        if any(i == concept_id and life.retired_at > self.now for i, life in self.retired):
            return
        answer = await self.api.post("/v1/semantic", json={"id": concept_id} | content)
        if concept_id in self.concepts:
            assert answer.status_code in (200, 409)
        else:
            assert answer.status_code == 201
            self.concepts[concept_id] = Concept(self.now, [(self.now, content)])

    async def patch(self, number: int, changed: dict[str, Any], clock_step: float) -> None:
        """One of the concepts becomes something else."""
        CLOCK.advance(clock_step)
        if self.concepts:
            concept_id, concept = self._pick(number)
            answer = await self.api.patch(f"/v1/semantic/{concept_id}", json=changed)
            assert answer.is_success, answer.text
            concept.change(self.now, changed)

    async def recall(self, asked: list[float]) -> None:
        """A question of the present finds all; what it counts is folded into the concepts."""
        body = {"concept_vector": asked, "top_k": 100, "exact": True}
        found = (await self.api.post("/v1/semantic/search", json=body)).json()["memories"]
        assert {m["id"] for m in found} == self.concepts.keys()
        for concept in self.concepts.values():
            concept.hits += 1
        expected = {concept_id: concept.hits for concept_id, concept in self.concepts.items()}
        while True:
            listed = (await self.api.post("/v1/semantic/query", json={})).json()["memories"]
            if {m["id"]: m["access_count"] for m in listed} == expected:
                break
            await asyncio.sleep(0.01)

    async def delete(self, number: int) -> None:
        """One of the concepts goes, with its past."""
        if self.concepts:
            concept_id, _ = self._pick(number)
            assert (await self.api.delete(f"/v1/semantic/{concept_id}")).status_code == 204
            del self.concepts[concept_id]

    async def delete_matching(self, regime: str, ratio: float) -> None:
        """Those that are such now go, whatever they were before."""
        conditions = {"regime_name": regime, "min_sharpe_ratio": ratio}
        going = [i for i, c in self.concepts.items() if meets(c.now, conditions)]
        body = conditions | {"dry_run": False}
        answer = (await self.api.post("/v1/semantic/delete", json=body)).json()
        assert answer["deleted"] == len(going)
        self._forget(going)

    async def retain(self, ratio: float) -> None:
        """Retention: those go that are no better than this. What they were stays known: rules go
        by what came later, and a past moment must not know the winners alone."""
        rules = {"keep_sharpe_ratio_above": ratio, "keep_access_count_above": 10**6}
        going = [
            concept_id
            for concept_id, concept in self.concepts.items()
            if concept.now["sharpe_ratio"] <= ratio and concept.created_at <= self.now
        ]
        body = {"dry_run": False, "semantic": rules}
        answer = (await self.api.post("/v1/retention", json=body)).json()
        assert answer["semantic"]["deleted"] == len(going)
        for concept_id in going:
            concept = self.concepts[concept_id]
            concept.retired_at = max(self.now, concept.contents[-1][0])
            self.retired.append((concept_id, concept))
        self._forget(going)

    def _pick(self, number: int) -> tuple[str, Concept]:
        return sorted(self.concepts.items())[number % len(self.concepts)]

    def _forget(self, ids: list[str]) -> None:
        for concept_id in ids:
            del self.concepts[concept_id]

    async def compare(
        self, as_of: float, conditions: dict[str, Any], asked: list[float], top_k: int
    ) -> None:
        """Every route answers as of this moment what was true then."""
        lives = [*self.retired, *self.concepts.items()]
        then = [(concept_id, concept.at(as_of)) for concept_id, concept in lives]
        known = {concept_id: content for concept_id, content in then if content}
        wanted = {i: content for i, content in known.items() if meets(content, conditions)}
        body = conditions | {"as_of": as_of}
        await self.compare_search(wanted, body, asked, top_k)
        await self.compare_query(wanted, body)
        for concept_id in IDS:
            answer = await self.api.get(f"/v1/semantic/{concept_id}", params={"as_of": as_of})
            assert answer.status_code == (200 if concept_id in known else 404)
            if concept_id in known:
                same_content(answer.json(), known[concept_id])
                vector = answer.json()["concept_vector"]
                assert vector == pytest.approx(known[concept_id]["concept_vector"])

    async def compare_search(
        self,
        wanted: dict[str, dict[str, Any]],
        body: dict[str, Any],
        asked: list[float],
        top_k: int,
    ) -> None:
        body = body | {"concept_vector": asked, "top_k": top_k, "exact": True}
        found = (await self.api.post("/v1/semantic/search", json=body)).json()["memories"]
        distances = {
            concept_id: cosine_distance(content["concept_vector"], asked)
            for concept_id, content in wanted.items()
        }
        assert len({m["id"] for m in found}) == len(found) == min(top_k, len(wanted))
        nearest = sorted(distances.values())[:top_k]
        assert [m["distance"] for m in found] == pytest.approx(nearest, abs=1e-4)
        for hit in found:
            assert hit["distance"] == pytest.approx(distances[hit["id"]], abs=1e-4)
            same_content(hit, wanted[hit["id"]])

    async def compare_query(self, wanted: dict[str, dict[str, Any]], body: dict[str, Any]) -> None:
        listed: list[dict[str, Any]] = []
        body = body | {"sort_by": "sharpe_ratio", "order": "asc", "limit": 2}
        while True:
            page = (await self.api.post("/v1/semantic/query", json=body)).json()
            assert page["total"] == len(wanted)
            listed += page["memories"]
            body["cursor"] = page["next_cursor"]
            if body["cursor"] is None:
                break
        ratios = [m["sharpe_ratio"] for m in listed]
        assert ratios == sorted(content["sharpe_ratio"] for content in wanted.values())
        assert {m["id"] for m in listed} == wanted.keys()
        for memory in listed:
            same_content(memory, wanted[memory["id"]])


def same_content(memory: dict[str, Any], content: dict[str, Any]) -> None:
    """An answer's concept is what it was; how often it was found by then nobody knows."""
    expected = {name: value for name, value in content.items() if name != "concept_vector"}
    assert {name: memory[name] for name in expected} == expected
    assert (memory["access_count"], memory["last_accessed"]) == (None, None)


@pytest.fixture(scope="module")
async def service(empty_node: EmbeddedNode) -> AsyncIterator[httpx.AsyncClient]:
    """One service, which folds at once."""
    async with service_by_clock(
        empty_node,
        CLOCK,
        semantic_history_changes=CHANGES_KEPT,
        access_flush_interval_s=0.01,
        access_fold_interval_s=0.01,
    ) as client:
        yield client


@pytest.mark.timeout(600)  # a failure takes its time to be made small
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    first=first_stores,
    moments=st.lists(st.lists(events, min_size=1, max_size=5), min_size=2, max_size=8),
    asked=vectors,
    conditions=filters,
    top_k=st.sampled_from([1, 2, 100]),
    between=st.lists(st.floats(-1, 9), max_size=3),
)
async def test_every_moment_is_answered_as_it_was(
    *,
    service: httpx.AsyncClient,
    redis: Redis,
    first: list[tuple[Any, ...]],
    moments: list[list[tuple[Any, ...]]],
    asked: list[float],
    conditions: dict[str, Any],
    top_k: int,
    between: list[float],
) -> None:
    await redis.flushall()
    CLOCK.now_s = START
    history = History(service)
    questions = [START + seconds for seconds in between]
    for moment in [first, *moments]:
        for name, *arguments in moment:
            await getattr(history, name)(*arguments)
        questions.append(history.now)
        CLOCK.advance(1.0)
    for as_of in questions:
        await history.compare(as_of, conditions, asked, top_k)
        await history.compare(as_of, {}, asked, 100)
