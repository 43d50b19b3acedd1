"""Pages of a sample read their population once, and never one that others have changed."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import httpx
import pytest

from app.memory import sampling
from app.memory.sampling import CachedPopulations
from app.model import EpisodicFilter
from app.read_path.versions import PartitionVersions
from app.settings import Settings
from app.storage.samples import Candidate, Populations
from tests.api.test_episodic_search import memories, store
from tests.conftest import running_service
from tests.kit.fakes import FakeFreshness, ManualClock

ALL = EpisodicFilter(closed=True)


class Counting:
    """Populations of ten that count how often they are read."""

    def __init__(self) -> None:
        self.reads = 0
        self.meanwhile: Callable[[], None] = lambda: None

    async def read(self, agent_id: str, *_: object, **__: object) -> Sequence[Candidate]:
        self.reads += 1
        self.meanwhile()
        return [Candidate(agent_id, b"k", seq, float(self.reads), b"") for seq in range(10)]


class Kept:
    def __init__(self) -> None:
        self.populations, self.versions = Counting(), PartitionVersions()
        self.clock, self.freshness = ManualClock(), FakeFreshness()
        self.stage = CachedPopulations(
            cast("Populations", self.populations),
            self.versions,
            freshness=self.freshness,
            ttl_s=60.0,
            clock=self.clock,
        )

    async def is_kept(self, agent_id: str | None = "a", wanted: EpisodicFilter = ALL) -> bool:
        before = self.populations.reads
        await self.stage.read(agent_id, wanted, stratify_by=None)
        return self.populations.reads == before


async def test_it_is_read_once_for_each_agent_and_filter() -> None:
    kept = Kept()
    asked: list[tuple[str | None, EpisodicFilter]] = [
        *(("a", ALL), ("b", ALL), (None, ALL)),
        *(("a", EpisodicFilter(closed=True, as_of=at)) for at in (1.0, 2.0)),
    ]
    assert [await kept.is_kept(*one) for one in asked] == [False] * 5
    assert [await kept.is_kept(*one) for one in asked] == [True] * 5


async def test_what_may_lag_is_not_kept() -> None:
    kept = Kept()
    for before, after in ((False, True), (True, False), (False, False)):
        kept.freshness.is_latest = before
        kept.populations.meanwhile = lambda after=after: setattr(kept.freshness, "is_latest", after)  # type: ignore[misc]
        assert not await kept.is_kept()
    kept.freshness.is_latest = True
    kept.populations.meanwhile = lambda: None
    assert [await kept.is_kept() for _ in range(2)] == [False, True]


async def test_a_write_ends_it() -> None:
    kept = Kept()
    for agent_id in ("a", "b", None):
        await kept.is_kept(agent_id)
    kept.versions.invalidate("a")
    assert [await kept.is_kept(agent_id) for agent_id in ("a", "b", None)] == [False, True, False]
    kept.versions.invalidate_all()
    assert not await kept.is_kept("b")
    kept.clock.advance(61.0)
    assert not await kept.is_kept("b")
    kept.freshness.is_heard = False
    assert not await kept.is_kept("b")
    assert not await kept.is_kept("b")


async def test_what_was_written_to_while_it_was_read_is_not_kept() -> None:
    kept = Kept()
    kept.populations.meanwhile = lambda: kept.versions.invalidate("a")
    assert not await kept.is_kept()
    assert not await kept.is_kept()


async def test_so_many_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MAX_CANDIDATES", 25)
    kept = Kept()
    assert [await kept.is_kept(name) for name in "aba"] == [False, False, True]
    assert not await kept.is_kept("c")
    assert [await kept.is_kept(name) for name in "acb"] == [True, True, False]
    monkeypatch.setattr(sampling, "MAX_CANDIDATES", 5)
    assert not await kept.is_kept("d")
    assert not await kept.is_kept("d")
    monkeypatch.undo()
    monkeypatch.setattr(sampling, "MAX_POPULATIONS", 2)
    assert [await kept.is_kept(name) for name in "abcb"] == [False, False, False, True]
    assert not await kept.is_kept("a")


async def test_a_write_of_another_service_is_in_the_next_sample(settings: Settings) -> None:
    async def drawn(api: httpx.AsyncClient) -> dict[str, Any]:
        body = {"agent_id": "agent_1", "size": 100, "seed": 1}
        found = (await api.post("/v1/episodic/sample", json=body)).json()["memories"]
        return {m["id"]: m for m in found}

    async with running_service(settings) as one, running_service(settings) as other:
        await store(one, memories(20))
        assert len(await drawn(other)) == 20
        assert len(await drawn(other)) == 20
        await store(one, memories(30)[20:])
        while len(await drawn(other)) != 30:
            pass
        assert (await one.delete("/v1/episodic/agent_1/m3")).status_code == 204
        assert "m3" not in await drawn(one), "its own write is in at once"
