"""The production workload's requests, made before the clock runs."""

from collections.abc import Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from bench.bodies import SEARCH, STORE, VectorForm, encode_vector, memory
from bench.data import History, Moments, trading_workload
from bench.recall import TOP_K
from bench.trading_day import Event

TRADE_PREFIX = "trade-"

FIRST_UNUSED_ITEM = 950
"""An hour has 720 pattern searches and about 120 trades; each product has 1,000 states."""


class TradingDay:
    """Agents with a product each: what they remember, and the states that they come into.

    A day stores trades, so another needs agents of its own: `run_id` is part of their names.
    """

    def __init__(
        self,
        history: History,
        *,
        agents: int,
        memories_each: int,
        form: VectorForm,
        run_id: str,
    ) -> None:
        self.workload, self._ahead = trading_workload(
            history, name=f"trading-{run_id}", agents=agents, memories_each=memories_each
        )
        self._form: VectorForm = form

    def request(self, event: Event) -> tuple[str, bytes]:
        """Return path and body of an event's request."""
        agent_id = self.workload.agent_ids[event.agent]
        moments, row = self._state(event)
        if event.kind == "store":
            memory_id = f"{TRADE_PREFIX}{event.item}"
            return STORE, orjson.dumps(memory(agent_id, memory_id, moments, row, self._form))
        question: dict[str, object] = {
            "agent_id": agent_id,
            "top_k": TOP_K,
            "state_vector": encode_vector(moments.vectors[row], self._form),
        }
        if event.kind == "trade search":
            question["regime"] = str(moments.regimes[row])
        return SEARCH, orjson.dumps(question)

    def warm_up(self, agent: int, count: int) -> list[bytes]:
        """Return up to 50 searches about states that the plan of an hour does not reach."""
        items = range(FIRST_UNUSED_ITEM, FIRST_UNUSED_ITEM + min(count, 50))
        return [self.request(Event(0.0, agent, "pattern search", item))[1] for item in items]

    def question(self, event: Event) -> NDArray[np.float32]:
        """Return the state (d,) that a search asks about."""
        moments, row = self._state(event)
        vector: NDArray[np.float32] = moments.vectors[row]
        return vector

    def candidates(
        self, event: Event, stored_before: Sequence[Event]
    ) -> tuple[NDArray[np.float32], dict[str, int]]:
        """Return what a search must choose from: vectors (n, d), and the row of each memory's id.

        `stored_before` are this agent's stores that were confirmed when the search was sent.
        """
        initial = self.workload.stored[event.agent]
        moments, row = self._state(event)
        kept = [(str(i), initial, i) for i in range(len(initial))]
        for store in stored_before:
            ahead, i = self._state(store)
            kept.append((f"{TRADE_PREFIX}{store.item}", ahead, i))
        if event.kind == "trade search":
            wanted = moments.regimes[row]
            kept = [(id_, source, i) for id_, source, i in kept if source.regimes[i] == wanted]
        vectors = np.stack([source.vectors[i] for _, source, i in kept])
        return vectors, {id_: i for i, (id_, _, _) in enumerate(kept)}

    def _state(self, event: Event) -> tuple[Moments, int]:
        ahead = self._ahead[event.agent]
        return ahead, event.item % len(ahead)
