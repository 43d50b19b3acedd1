"""Counts the outcomes of decisions in Redis, beside the agent's memories.

An open decision expires. A closed one is added to sums, for the agent as a whole, by product and by
regime, in the same step, so that it is counted once. The keys are deleted with the agent's last
memory.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

from app import keys
from app.decisions.recall_ids import RecallTicket, read_recall_id
from app.metrics import DECISIONS
from app.model import ARMS
from app.nodes.client import execute
from app.nodes.commands import Script, Word, ask_all, slices
from app.nodes.moving import Confirming, run_where_it_is
from app.nodes.redis_errors import translated
from app.nodes.shard import Shard, Shards
from app.storage.agents import leaving_out

Became = Literal[
    "opened",
    "unchanged",
    "counted",
    "repeated",
    "other",
    "conflict",
    "full",
    "missing",
    "uncounted",
]
"""The result for a decision (lua/decide.lua)."""

MS_PER_S: Final = 1000
REMEMBERED_S: Final = 3600.0
"""How long a closed decision is remembered, so that repeating an outcome changes nothing."""
KEPT_S: Final = 180 * 86_400
"""How long sums are kept without a new outcome."""
FEWEST_BEFORE: Final = 20
"""Closed decisions that an arm needs before it is compared: the means of these are subtracted."""
MAX_NAMES: Final = 100
"""Products, and regimes, that are counted by name; others count for the agent as a whole."""
ASKED_AT_A_TIME: Final = 500


@dataclass(frozen=True, slots=True)
class Decided:
    """What an agent did after a recall. None: not given."""

    action: str | None
    product_id: str | None
    regime: str | None


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums by agent. Those of the groups in `silent`, which did not answer, are missing."""

    sums: dict[str, list[float]] = field(default_factory=dict)
    silent: list[str] = field(default_factory=list)


class DecisionLedger:
    """Opens and closes decisions. `now` returns unix seconds. `store` holds the agents' memories.

    A decision may be open for `open_s` seconds after its recall; an agent may have `max_open`.
    """

    def __init__(
        self,
        shards: Shards,
        store: Confirming,
        *,
        now: Callable[[], float],
        open_s: float,
        max_open: int,
    ) -> None:
        self._shards = shards
        self._store = store
        self._now = now
        self._open_s = open_s
        self._max_open = max_open
        self._script = Script("decide")
        self._remove = Script("remove_beside")

    async def open(self, ticket: RecallTicket, decided: Decided) -> Became:
        """Open a decision, whose outcome comes later. Raise StorageError.

        As the other writes here, it is confirmed at the durability that the request asks for.
        """
        return await self._run("open", ticket, decided, "")

    async def close(self, ticket: RecallTicket, reward: float) -> Became:
        """Close an open decision. Raise StorageError."""
        return await self._run("close", ticket, Decided(None, None, None), _text(reward))

    async def settle(
        self, agent_id: str, memory_id: str, record: Mapping[str, Any], *, is_new: bool
    ) -> None:
        """Count the outcome of a memory that has a recall's id, if it is closed. Raise
        StorageError.

        `is_new`: the outcome was not known before. Otherwise it is counted only if it certainly was
        not, because an earlier attempt failed in between.
        """
        reward = record["reward"]
        if reward is None or (ticket := read_recall_id(memory_id, agent_id)) is None:
            return
        is_recent = self._now() - ticket.issued_at < REMEMBERED_S
        if not (self.is_in_time(ticket) and (is_new or is_recent)):
            DECISIONS.labels("missing").inc()
            return
        decided = Decided(record["action"], record["product_id"], record["regime"])
        await self._run("settle", ticket, decided, _text(reward))

    def is_in_time(self, ticket: RecallTicket) -> bool:
        """Return whether a decision after this recall may still be open."""
        return -REMEMBERED_S <= self._now() - ticket.issued_at <= self._open_s

    async def forget(self, agent_id: str) -> None:
        """Delete all decisions of an agent and their outcomes. Raise StorageError."""
        both = (keys.decisions(agent_id), keys.uplift(agent_id))
        await self._run_script(self._remove, agent_id, both, (agent_id,))

    async def sums(self, agent_id: str) -> dict[str, list[float]]:
        """Return the sums of an agent by slice (lua/decide.lua). Raise StorageError."""
        shard = await self._shards.locate(keys.uplift(agent_id))
        with translated():
            found = await execute(shard.master.client, "HGETALL", keys.uplift(agent_id))
        return {name.decode(): _numbers(text) for name, text in found.items()}

    async def totals(self, agents: Sequence[str]) -> Totals:
        """Return the sums of each agent as a whole, of those that have any.

        Those of a group that is away are left out, if partial answers are allowed. Raise
        StorageError.
        """
        found = Totals()
        for shard, places in self._shards.indices([keys.uplift(name) for name in agents]):
            some = [agents[i] for i in places]
            with leaving_out(self._shards, shard, found.silent):
                found.sums.update(await _totals_on(shard, some))
        return found

    async def _run(self, mode: str, ticket: RecallTicket, decided: Decided, reward: str) -> Became:
        agent_id = ticket.agent_id
        told = {
            "id": ticket.recall_id,
            "arm": ARMS.index(ticket.arm) + 1,
            "shares": ticket.shares.chances,
            "action": decided.action,
            "product": decided.product_id,
            "regime": decided.regime,
        }
        left_s = ticket.issued_at + self._open_s - self._now()
        if mode == "open":  # it may be the first that is stored of this agent
            await self._shards.place([agent_id])
        said = await self._run_script(
            self._script,
            agent_id,
            [keys.decisions(agent_id), keys.uplift(agent_id)],
            [
                mode,
                ticket.unit,
                orjson.dumps({name: v for name, v in told.items() if v is not None}),
                reward,
                self._max_open,
                max(1, int(left_s * MS_PER_S)),
                int(REMEMBERED_S * MS_PER_S),
                KEPT_S,
                FEWEST_BEFORE,
                MAX_NAMES,
            ],
        )
        became: Became = said.decode()
        DECISIONS.labels(became).inc()
        return became

    async def _run_script(
        self, script: Script, agent_id: str, stands: Sequence[str], words: Sequence[Word]
    ) -> Any:
        return await run_where_it_is(
            self._shards,
            script,
            stands,
            words,
            partition=keys.episodic_partition(agent_id),
            store=self._store,
        )


async def _totals_on(shard: Shard, agents: Sequence[str]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for some in slices(agents, ASKED_AT_A_TIME):
        asked = [("HGET", keys.uplift(name), "all") for name in some]
        replies = await ask_all(shard.master.client, asked)
        answers = zip(some, replies, strict=True)
        found |= {name: _numbers(text) for name, text in answers if text is not None}
    return found


def _text(reward: float) -> str:
    """Return a reward as the script compares it: 0 and -0 alike."""
    return repr(float(reward) + 0.0)


def _numbers(text: bytes) -> list[float]:
    return [float(word) for word in text.split()]
