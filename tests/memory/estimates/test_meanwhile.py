"""What changes while an estimate is made: nothing of it is kept half known."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import numpy as np
import pytest

import app.service
from app.memory.estimates.parts import estimating_parts
from app.model import Answer, EpisodicQuestion, Question
from app.read_path.stage import Recall
from app.settings import Settings
from app.storage.histories import HistoryReader
from tests.conftest import DIMENSION, running_service

DAY = 86_400.0
KNOWN, LATE, LATER = 30, 8, 4
"""Memories whose outcomes are known, that get theirs later, and that begin after the question."""

AS_OF = KNOWN * DAY
LATE_OUTCOME_AT = 10 * DAY
AT_ONCE = 16
"""Answers of one round trip."""

NOVELTY, BACKCASTS = "novelty", "backcasts"

Happening = Callable[[], Awaitable[object]]


class Interrupted:
    """Answers as the read path does; once, something happens between an answer and its use."""

    def __init__(self) -> None:
        self.plain: Recall | None = None
        self.of: str = ""
        self.answers = 0
        self.happening: Happening | None = None

    @property
    def has_happened(self) -> bool:
        return self.happening is None

    async def recall(self, question: Question) -> Answer:
        assert self.plain is not None
        answer = await self.plain.recall(question)
        if self.happening is not None and _purpose(question) == self.of:
            self.answers += 1
            if self.answers <= AT_ONCE:
                return answer
            happening, self.happening = self.happening, None
            await happening()
        return answer


def _purpose(question: Question) -> str | None:
    if not isinstance(question, EpisodicQuestion) or question.trace is None:
        return None
    return NOVELTY if question.top_k == 2 else BACKCASTS


class Agent:
    """One that remembers a month, part of which it learns later."""

    def __init__(self, api: httpx.AsyncClient, interrupted: Interrupted) -> None:
        self._api = api
        self._interrupted = interrupted

    async def live(self) -> None:
        states = np.random.default_rng(1).normal(size=(KNOWN + LATER, DIMENSION))
        rewards = np.random.default_rng(2).normal(size=KNOWN + LATER)
        memories = [
            self._memory(f"m{day}", day, state, reward=reward, outcome_at=(day + 0.5) * DAY)
            for day, (state, reward) in enumerate(zip(states, rewards.tolist(), strict=True))
        ]
        # The nearest ones of some memories, once they are known.
        memories += [self._memory(f"late{i}", i + 0.6, states[20 + i] + 1e-3) for i in range(LATE)]
        await self._post("/v1/episodic/batch", {"memories": memories})

    def _memory(self, name: str, day: float, state: Any, **more: float) -> dict[str, Any]:
        known = {"id": name, "agent_id": "a", "product_id": "p", "regime": "calm", "action": "buy"}
        return {**known, "timestamp": day * DAY, "state_vector": state.tolist(), **more}

    async def ask(self, seed: int = 5, top_k: int = 5) -> dict[str, Any]:
        state = np.random.default_rng(seed).normal(size=DIMENSION).tolist()
        body = {"agent_id": "a", "as_of": AS_OF, "state_vector": state, "top_k": top_k}
        found = await self._post("/v1/episodic/estimate", body)
        return {name: found[name] for name in ("actions", "novelty", "memories", "found")}

    async def ask_while(self, of: str, happening: Happening) -> dict[str, Any]:
        """Ask; something happens in the second round trip of what it looks up for this purpose."""
        interrupted = self._interrupted
        interrupted.of, interrupted.answers, interrupted.happening = of, 0, happening
        found = await self.ask()
        assert interrupted.has_happened, "too little was looked up"
        return found

    async def erase(self, name: str) -> None:
        """Erase a memory; whatever was derived from the memories is then derived anew."""
        answer = await self._api.delete(f"/v1/episodic/a/{name}")
        assert answer.is_success, answer.text

    async def retire(self, day: int) -> None:
        """Retire the memory of a day: questions as of earlier moments still find it."""
        when = {"since": day * DAY, "until": day * DAY}
        body = {"agent_id": "a", **when, "erase": False, "dry_run": False}
        assert (await self._post("/v1/episodic/delete", body))["deleted"] == 1

    async def close_late_ones(self) -> None:
        for i in range(LATE):
            await self.close(f"late{i}")

    async def close(self, name: str) -> None:
        outcome = {"reward": 3.0, "outcome_at": LATE_OUTCOME_AT}
        await self._post(f"/v1/episodic/a/{name}/outcome", outcome)

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self._api.post(path, json=body)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
async def agent(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Agent]:
    """One whose past is searched by the index: too little room to compare it in the process."""
    interrupted = Interrupted()

    def with_interruptions(reader: HistoryReader, recall: Recall, *args: Any, **more: Any) -> Any:
        interrupted.plain = recall
        return estimating_parts(reader, interrupted, *args, **{**more, "vectors_max_bytes": 1})

    monkeypatch.setattr(app.service, "estimating_parts", with_interruptions)
    async with running_service(settings) as api:
        agent = Agent(api, interrupted)
        await agent.live()
        yield agent


@pytest.mark.parametrize("of", [NOVELTY, BACKCASTS])
async def test_a_history_that_is_read_again_takes_nothing_away(agent: Agent, of: str) -> None:
    want = await agent.ask()
    assert want["actions"][0]["interval"]["method"] == "cqr"
    await agent.erase(f"m{KNOWN}")

    async def read_again() -> None:
        await agent.erase(f"m{KNOWN + 1}")
        await agent.ask(seed=6, top_k=4)

    assert await agent.ask_while(of, read_again) == want
    assert await agent.ask() == want


@pytest.mark.parametrize("of", [NOVELTY, BACKCASTS])
async def test_what_was_looked_up_before_a_late_outcome_is_not_kept(agent: Agent, of: str) -> None:
    before = await agent.ask()
    await agent.erase(f"m{KNOWN}")

    async def learn() -> None:
        await agent.close_late_ones()
        await agent.ask(seed=6, top_k=4)

    await agent.ask_while(of, learn)
    told = await agent.ask()
    assert told != before
    await agent.erase(f"m{KNOWN + 1}")
    assert await agent.ask() == told


async def test_what_changes_between_two_searches_is_read_next_time(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    await agent.retire(KNOWN)
    await agent.ask()
    await agent.close("late1")
    retired = HistoryReader._retired

    async def after_changes(*args: Any) -> Any:
        monkeypatch.setattr(HistoryReader, "_retired", retired)
        await agent.close("late0")
        await agent.retire(KNOWN + 1)
        return await retired(*args)

    monkeypatch.setattr(HistoryReader, "_retired", after_changes)
    await agent.ask()
    assert (await agent.ask())["actions"][0]["baseline"]["n"] == KNOWN + 2


async def test_a_first_memory_that_retires_during_a_read_is_read(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = HistoryReader._everything

    async def after_a_change(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(HistoryReader, "_everything", everything)
        await agent.retire(3)
        return await everything(*args, **more)

    monkeypatch.setattr(HistoryReader, "_everything", after_a_change)
    await agent.ask()
    assert (await agent.ask())["actions"][0]["baseline"]["n"] == KNOWN
