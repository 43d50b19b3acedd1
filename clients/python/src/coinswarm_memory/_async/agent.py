"""One agent's memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

from coinswarm_memory._async import jobs, questions
from coinswarm_memory._async.bulk import store_many
from coinswarm_memory._async.caller import AsyncCaller
from coinswarm_memory._async.draw import AsyncDraw, draw
from coinswarm_memory._async.pages import AsyncPages
from coinswarm_memory._async.replica import AsyncReplica
from coinswarm_memory._async.writer import AsyncWriter
from coinswarm_memory.answers import (
    BulkReport,
    Calibration,
    Closed,
    Decision,
    DecisionClosed,
    Deleted,
    Estimate,
    Evaluation,
    Experience,
    Hit,
    Recall,
    Stored,
    Uplift,
)
from coinswarm_memory.answers.verdicts import Arm
from coinswarm_memory.encode.experience import ExperienceFields, MoreExperience, experience
from coinswarm_memory.encode.rows import Rows
from coinswarm_memory.encode.times import TimeLike
from coinswarm_memory.encode.vectors import ArrayLike
from coinswarm_memory.operations import episodic, feed
from coinswarm_memory.operations import verdicts as operations
from coinswarm_memory.operations.episodic import PrioritiesChanged
from coinswarm_memory.operations.fields import contract_fields
from coinswarm_memory.operations.filters import (
    CalibrationOptions,
    EstimateOptions,
    EvaluateOptions,
    ExperienceFilters,
    MoreRecall,
    Names,
    RecallOptions,
    Scope,
    WindowFilters,
)
from coinswarm_memory.progress import ProgressOption
from coinswarm_memory.replica.rows import Changes
from coinswarm_memory.view import View


class AsyncAgent:
    """The memory of the agent `id`. Made by `memory.agent(id)`.

    All calls raise ServiceProblem's subclasses, ServiceUnreachable and CallTimedOut; those that
    take states raise InvalidVector before anything is sent.
    """

    def __init__(self, caller: AsyncCaller, agent_id: str, view: View) -> None:
        self.id = agent_id
        self._caller = caller
        self._view = view

    async def remember(
        self,
        state: ArrayLike,
        *,
        product: str | None = None,
        regime: str | None = None,
        action: str | None = None,
        reward: float | None = None,
        timestamp: TimeLike | None = None,
        metadata: dict[str, Any] | None = None,
        id: str | None = None,
        durability: str | None = None,
        **more: Unpack[MoreExperience],
    ) -> Stored:
        """Store one experience. Without a `reward` it stays open until `close`.

        `state`: shape (dimension,). A product or regime that is not given is `unknown`. Raises
        ContentConflict when `id` holds another experience.
        """
        self._view.require_present("Storing")
        fields = ExperienceFields(
            product=product,
            regime=regime,
            action=action,
            reward=reward,
            timestamp=timestamp,
            metadata=metadata,
            id=id,
            **more,
        )
        body = experience(self.id, state, fields, await self._caller.dimension())
        stored = await self._caller.call(episodic.store(body, durability))
        await self._caller.wrote(self.id, stored.token)
        return stored

    async def close(
        self,
        id: str,
        *,
        reward: float | None = None,
        outcome_at: TimeLike | None = None,
        terminal: bool | None = None,
        outcomes: Sequence[Mapping[str, Any]] | None = None,
        at: TimeLike | None = None,
        durability: str | None = None,
    ) -> Closed:
        """Record the outcome of an open memory. Raises OutcomeConflict if it has another one.

        `outcomes`: outcomes at other horizons, each with `horizon`, `reward` and `outcome_at`.
        `at`: the time that this gets, in a walk through the past.
        """
        self._view.require_present("Closing")
        outcome = {
            "reward": reward,
            "outcome_at": outcome_at,
            "terminal": terminal,
            "outcomes": outcomes,
            "at": at,
        }
        closed = await self._caller.call(episodic.close(self.id, id, outcome, durability))
        await self._caller.wrote(self.id, closed.token)
        return closed

    async def recall(
        self,
        state: ArrayLike,
        *,
        k: int = 10,
        product: Names | None = None,
        regime: Names | None = None,
        action: Names | None = None,
        min_reward: float | None = None,
        since: TimeLike | None = None,
        until: TimeLike | None = None,
        as_of: TimeLike | None = None,
        scope: Scope = "own",
        max_distance: float | None = None,
        exact: bool = False,
        vectors: bool = False,
        timeout_s: float | None = None,
        **more: Unpack[MoreRecall],
    ) -> Recall:
        """Return the `k` experiences most similar to `state`, nearest first.

        `scope`: the agent's own, the other agents' or all. `exact` compares with every memory,
        however long it takes. `vectors` returns their states too. `metric`: a learned distance to
        go by, its id or `promoted`. Raises MetricNotFound, MetricFromTheFuture.
        """
        options = RecallOptions(
            product=product,
            regime=regime,
            action=action,
            min_reward=min_reward,
            since=since,
            until=until,
            as_of=as_of,
            scope=scope,
            max_distance=max_distance,
            exact=exact,
            vectors=vectors,
            **more,
        )
        ask = questions.Questions(self._caller, self.id, self._view)
        return await ask.recall(state, k, options, timeout_s)

    async def recall_many(
        self,
        states: ArrayLike,
        *,
        k: int = 10,
        timeout_s: float | None = None,
        **options: Unpack[RecallOptions],
    ) -> list[Recall]:
        """Return an answer for each row of `states`, shape (n, dimension), in order.

        One request per 256 rows. Raises the problem of the first row that has one.
        """
        ask = questions.Questions(self._caller, self.id, self._view)
        return await ask.recall_many(states, k, options, timeout_s)

    async def estimate(
        self,
        state: ArrayLike,
        *,
        k: int = 50,
        timeout_s: float | None = None,
        **options: Unpack[EstimateOptions],
    ) -> Estimate:
        """Return what came of each action in the `k` most similar moments."""
        ask = questions.Questions(self._caller, self.id, self._view)
        return await ask.estimate(state, k, options, timeout_s)

    async def remember_many(
        self,
        data: object,
        *,
        progress: ProgressOption = False,
        batch: int = 500,
        in_flight: int = 4,
        patience_s: float = 60.0,
        durability: str | None = None,
        columns: Mapping[str, str | Sequence[str]] | None = None,
        **shared: Any,
    ) -> BulkReport:
        """Store many experiences and return what became of each.

        `data`: a data frame (pandas, polars, pyarrow), an array of states of shape (n, dimension),
        a mapping of columns, or an iterable of mappings; columns are named as the parameters of
        `remember`. `columns` says which column holds what, `{"state": "embedding"}`, or which
        columns make the state up, `{"state": ["f0", "f1"]}`. `shared` are values for all rows, or
        columns: `remember_many(states, action=actions, product="BTC-USD")`. A missing value (NaN,
        NaT, None) counts as not given.

        Rows get their ids before the first is sent. So while the service is away, a batch can be
        repeated for up to `patience_s` seconds without storing anything twice. Rows that are
        refused, here or by the service, are named in `refused`; the others are stored.
        """
        self._view.require_present("Storing")
        rows = Rows(self.id, data, shared, columns or {}, await self._caller.dimension())
        return await store_many(
            self._caller,
            rows,
            batch=batch,
            in_flight=in_flight,
            patience_s=patience_s,
            progress=progress,
            durability=durability,
        )

    def writer(
        self,
        *,
        batch: int = 500,
        flush_s: float = 0.2,
        in_flight: int = 4,
        patience_s: float = 60.0,
        durability: str | None = None,
    ) -> AsyncWriter:
        """Return a writer that stores appended experiences in batches.

        A batch leaves when it is full, or `flush_s` seconds after the one before.
        """
        self._view.require_present("Storing")
        return AsyncWriter(
            self._caller,
            self.id,
            batch=batch,
            flush_s=flush_s,
            in_flight=in_flight,
            patience_s=patience_s,
            durability=durability,
        )

    def query(
        self,
        *,
        sort_by: str = "timestamp",
        order: str = "desc",
        page: int = 500,
        **filters: Unpack[WindowFilters],
    ) -> AsyncPages:
        """Return all experiences that match, in an order, read page by page as they are used."""
        wanted = contract_fields(filters) | {
            "agent_id": self.id,
            "sort_by": sort_by,
            "order": order,
        }
        as_of = self._view.bounded(filters.get("as_of"))
        if as_of is not None:
            wanted["as_of"] = as_of
        return AsyncPages(self._caller, wanted | {"limit": page})

    async def sample(
        self,
        size: int = 32,
        *,
        strategy: str = "uniform",
        seed: int | None = None,
        alpha: float | None = None,
        beta: float | None = None,
        stratify_by: str | None = None,
        cursor: str | None = None,
        **filters: Unpack[ExperienceFilters],
    ) -> AsyncDraw:
        """Return `size` closed experiences drawn at random, as arrays to train on.

        `strategy`: `uniform`, `prioritized`, `fifo` or `lifo`. `cursor` continues where an earlier
        draw with the same conditions ended (`draw.arrays.next_cursor`).
        """
        wanted = contract_fields(
            {
                **filters,
                "size": size,
                "strategy": strategy,
                "seed": seed,
                "alpha": alpha,
                "beta": beta,
                "stratify_by": stratify_by,
                "cursor": cursor,
                "as_of": self._view.bounded(filters.get("as_of")),
            }
        )
        return await draw(self._caller, wanted | {"agent_id": self.id}, self._view)

    async def changes(
        self, after: str | None = None, *, limit: int = 500, wait_s: float = 0.0
    ) -> Changes:
        """Return what changed after a position; without one, from now on.

        Waits up to `wait_s` if nothing did. Raises PositionLost if the position is no longer kept.
        """
        self._view.require_present("Following")
        operation = feed.changes(self.id, after, limit, wait_s)
        return await self._caller.call(operation, wait_s + self._caller.timeout_s)

    async def steps(self, parts: Sequence[tuple[str, int, int]]) -> list[list[Hit]]:
        """Return the experiences of each part of an episode: (episode_id, first step, last step).

        In the order of their steps, with their vectors; those that are not stored are left out.
        """
        ask = questions.Questions(self._caller, self.id, self._view)
        return await ask.steps(parts)

    async def get(self, id: str) -> Experience:
        """Return one experience with its vectors. Raises MemoryNotFound."""
        return await self._caller.call(episodic.fetch(self.id, id, self._view.as_of))

    async def rate(
        self,
        id: str,
        *,
        quality: float | None = None,
        priority: float | None = None,
        at: TimeLike | None = None,
    ) -> Closed:
        """Give an experience a quality (once) or a priority. Raises QualityConflict.

        `at`: the time that this gets, in a walk through the past.
        """
        self._view.require_present("Rating")
        rating = {"quality": quality, "priority": priority, "at": at}
        rated = await self._caller.call(episodic.rate(self.id, id, rating))
        await self._caller.wrote(self.id, rated.token)
        return rated

    async def calibration(
        self, *, as_of: TimeLike | None = None, **options: Unpack[CalibrationOptions]
    ) -> Calibration:
        """Return how well this agent's estimates matched the outcomes."""
        asked = contract_fields(
            {**options, "as_of": self._view.bounded(as_of), "agent_id": self.id}
        )
        return await self._caller.call(episodic.calibration(asked))

    async def evaluate(
        self, *, timeout_s: float = 600.0, **options: Unpack[EvaluateOptions]
    ) -> Evaluation:
        """Return whether this agent's memory helped it, against placebos: `result.verdict`.

        With a `metric`, moments after it was learned are asked, and `result.gain` compares it with
        the cosine distance. Waits until it is done, up to `timeout_s`, and cancels it then. Raises
        HistoryTooLong, MetricNotFound, MetricFromTheFuture.
        """
        as_of = self._view.bounded(options.get("as_of"))
        wanted = contract_fields({**options, "as_of": as_of, "agent_id": self.id})
        return await jobs.finished(self._caller, operations.EVALUATIONS, wanted, timeout_s)

    async def decide(
        self,
        recall_id: str,
        action: str,
        *,
        arm: Arm | None = None,
        product: str | None = None,
        regime: str | None = None,
    ) -> Decision:
        """Say what this agent does upon a recall, where it does not remember it under that id.

        Raises RecallUnknown, DecisionConflict.
        """
        self._view.require_present("Deciding")
        told = {
            "recall_id": recall_id,
            "action": action,
            "arm": arm,
            "product": product,
            "regime": regime,
            "agent_id": self.id,
        }
        return await self._caller.call(operations.decide(contract_fields(told)))

    async def close_decision(self, recall_id: str, reward: float) -> DecisionClosed:
        """Say what came of a decision. Raises DecisionUnknown, DecisionConflict."""
        self._view.require_present("Closing")
        outcome = contract_fields({"reward": reward, "agent_id": self.id})
        return await self._caller.call(operations.close_decision(recall_id, outcome))

    async def uplift(self) -> Uplift:
        """Return what the memory adds to this agent's decisions, by product and regime too."""
        self._view.require_present("Comparing")
        return await self._caller.call(operations.uplift(self.id))

    async def update_priorities(self, priorities: Mapping[str, float]) -> PrioritiesChanged:
        """Give many experiences new priorities, by id, with one request per thousand."""
        self._view.require_present("Rating")
        return await questions.prioritize(self._caller, self.id, priorities)

    async def delete(self, id: str) -> None:
        """Delete one experience. Raises MemoryNotFound."""
        self._view.require_present("Deleting")
        await self._caller.call(episodic.delete(self.id, id))
        await self._caller.wrote(self.id, None)

    async def delete_matching(
        self, *, dry_run: bool = True, **filters: Unpack[WindowFilters]
    ) -> Deleted:
        """Delete the experiences that match; with `dry_run` only count them."""
        self._view.require_present("Deleting")
        wanted = contract_fields(filters) | {"agent_id": self.id, "dry_run": dry_run}
        deleted = await self._caller.call(episodic.delete_matching(wanted))
        await self._caller.wrote(self.id, None)
        return deleted

    def replica(
        self,
        *,
        max_lag_s: float = 1.0,
        path: str | Path | None = None,
        when_behind: Literal["ask", "raise"] = "ask",
        progress: ProgressOption = False,
    ) -> AsyncReplica:
        """Return a replica of this agent's memory in this process; use it as a context manager.

        It answers `recall` exactly and in microseconds. It has everything that was confirmed more
        than `max_lag_s` seconds ago, and everything that this client has written. While it may lack
        more, it asks the service, or raises ReplicaBehind. `path`: a file that it starts from and
        is saved to. Raises PackageMissing without the extra `replica`.
        """
        return AsyncReplica(
            self._caller,
            self.id,
            self._view,
            max_lag_s=max_lag_s,
            path=path,
            when_behind=when_behind,
            progress=progress,
        )
