"""Questions that an agent asks of its memory."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from coinswarm_memory._sync.caller import Caller
from coinswarm_memory.answers import Estimate, Hit, Recall
from coinswarm_memory.encode.vectors import ArrayLike, matrix, require_rows, vector
from coinswarm_memory.operations import episodic
from coinswarm_memory.operations.batch import MAX_BATCH
from coinswarm_memory.operations.episodic import PrioritiesChanged
from coinswarm_memory.operations.fields import contract_fields
from coinswarm_memory.operations.filters import EstimateOptions, RecallOptions
from coinswarm_memory.operations.problem import Problem, error_from
from coinswarm_memory.view import View


class Questions:
    """One agent's questions, as of its view's moment."""

    def __init__(self, caller: Caller, agent_id: str, view: View) -> None:
        self._caller = caller
        self._agent_id = agent_id
        self._view = view

    def recall(
        self, state: ArrayLike, k: int, options: RecallOptions, timeout_s: float | None
    ) -> Recall:
        """Return the most similar experiences."""
        question = self._question(k, options)
        packed = vector(state, "state", self._caller.dimension())
        question["state_vector"] = packed.tobytes()
        return self._caller.ask(
            self._agent_id,
            options.get("consistency"),
            lambda consistency: episodic.search(_with(question, consistency)),
            timeout_s,
        )

    def estimate(
        self, state: ArrayLike, k: int, options: EstimateOptions, timeout_s: float | None
    ) -> Estimate:
        """Return what came of each action."""
        question = self._question(k, options)
        packed = vector(state, "state", self._caller.dimension())
        question["state_vector"] = packed.tobytes()
        return self._caller.ask(
            self._agent_id,
            options.get("consistency"),
            lambda consistency: episodic.estimate(_with(question, consistency)),
            timeout_s,
        )

    def recall_many(
        self, states: ArrayLike, k: int, options: RecallOptions, timeout_s: float | None
    ) -> list[Recall]:
        """Return an answer for each state."""
        question = self._question(k, options)
        packed = require_rows(matrix(states, "states", self._caller.dimension()), "states")
        consistency = options.get("consistency")
        found: list[Recall] = []
        at_once = episodic.searches_at_once(k, with_vectors=bool(options.get("vectors")))
        for start in range(0, len(packed), at_once):
            some = [
                {**question, "state_vector": row.tobytes()}
                for row in packed[start : start + at_once]
            ]
            found += self._answers(some, consistency, timeout_s)
        return found

    def steps(self, parts: Sequence[tuple[str, int, int]]) -> list[list[Hit]]:
        """Return the experiences of parts of episodes, in order, with their vectors."""
        any_state = np.ones(self._caller.dimension() or 1, np.float32)
        options = {"vectors": True, "exact": True}
        asked = [
            {
                **self._question(last - first + 1, options),
                "state_vector": any_state.tobytes(),
                "episode_id": episode,
                "min_step": first,
                "max_step": last,
            }
            for episode, first, last in parts
        ]
        found: list[Recall] = []
        longest = max((last - first + 1 for _, first, last in parts), default=1)
        at_once = episodic.searches_at_once(longest, with_vectors=True)
        for start in range(0, len(asked), at_once):
            found += self._answers(asked[start : start + at_once], None, None)
        return [sorted(one.memories, key=lambda hit: hit.step or 0) for one in found]

    def _answers(
        self, asked: list[dict[str, Any]], consistency: str | None, timeout_s: float | None
    ) -> list[Recall]:
        token = self._caller.tokens.of(self._agent_id)
        level = consistency or token
        searches = [_with(question, level) for question in asked]
        outcomes = self._caller.call(episodic.search_many(searches), timeout_s)
        if consistency is None and token is not None and any(map(_is_of_another_history, outcomes)):
            self._caller.tokens.forget(self._agent_id, token)
            return self._answers(asked, "strong", timeout_s)
        return [_answer(outcome) for outcome in outcomes]

    def _question(self, k: int, options: Mapping[str, Any]) -> dict[str, Any]:
        as_of = self._view.bounded(options.get("as_of"))
        given = {**options, "k": k, "as_of": as_of, "consistency": None}
        return contract_fields({**given, "agent_id": self._agent_id})


def prioritize(caller: Caller, agent_id: str, priorities: Mapping[str, float]) -> PrioritiesChanged:
    """Give many memories new priorities, a thousand in a request."""
    items = iter(priorities.items())
    changed, missing, token = 0, list[str](), None
    while some := dict(islice(items, MAX_BATCH)):
        part = caller.call(episodic.prioritize(agent_id, some))
        caller.wrote(agent_id, part.token)
        changed += part.changed
        missing += part.missing
        token = part.token or token
    return PrioritiesChanged(changed=changed, missing=missing, token=token)


def _with(question: dict[str, Any], consistency: str | None) -> dict[str, Any]:
    return question if consistency is None else {**question, "consistency": consistency}


def _is_of_another_history(outcome: Recall | Problem) -> bool:
    return isinstance(outcome, Problem) and outcome.code == "token_unknown"


def _answer(outcome: Recall | Problem) -> Recall:
    if isinstance(outcome, Problem):
        raise error_from(outcome)
    return outcome
