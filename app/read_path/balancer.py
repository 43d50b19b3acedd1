"""Decides which node answers.

A question may go to a replica that is in rotation, whose breaker lets calls through, and that has
everything its caller may know of: its memory has not changed since the replica was last seen to
have caught up. If the master missed its last health check and may hang, it is enough that the
replica has everything the master is known to have had. Of two such replicas drawn at random, the
one with fewer questions in flight gets the question. Without such a replica the master gets it; if
the master fails, any replica that still answers does, except for `strong`. A question with a token
goes only to a node that has the token's write.

A node that fails is not asked again for the same question; the next node is.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.errors import (
    MemoryServiceError,
    Overloaded,
    StorageError,
    StorageTimeout,
    StorageUnavailable,
    TokenNotReached,
    TokenUnknown,
)
from app.model import Answer, Question
from app.nodes.node import RedisNode
from app.read_path.breaker import Breaker, Breakers
from app.read_path.stage import NodeGroup, NodeSearch
from app.read_path.versions import PartitionVersions

Outcome = Answer | MemoryServiceError


@dataclass(slots=True)
class BalancedNode:
    """A node, its breaker, and the number of questions in flight to it."""

    node: RedisNode
    breaker: Breaker
    in_flight: int = field(default=0)

    @property
    def is_usable(self) -> bool:
        """Return whether the node answers and its breaker lets a call through."""
        return self.node.status.is_up and self.breaker.allows


class BalancedRecall:
    """Spreads batches over nodes.

    `replica_timeout_s` limits the wait for one replica, and `master_timeout_s` the wait for the
    master while a replica could answer instead; this process's own delay is added to both.
    """

    def __init__(
        self,
        group: NodeGroup,
        search: NodeSearch,
        breakers: Breakers,
        versions: PartitionVersions,
        *,
        replica_timeout_s: float,
        master_timeout_s: float | None = None,
        own_delay_s: Callable[[], float] = lambda: 0.0,
        chance: random.Random | None = None,
    ) -> None:
        self._group = group
        self._search = search
        self._breakers = breakers
        self._known: dict[str, BalancedNode] = {}
        self._versions = versions
        self._replica_timeout_s = replica_timeout_s
        self._master_timeout_s = master_timeout_s
        self._own_delay_s = own_delay_s
        self._chance = chance or random.Random()  # noqa: S311 - spreads load, keeps no secret

    @property
    def _master(self) -> BalancedNode:
        return self._balanced(self._group.master)

    def _balanced(self, node: RedisNode) -> BalancedNode:
        known = self._known.get(node.name)
        if known is None or known.node is not node:
            known = self._known[node.name] = BalancedNode(node, self._breakers.of(node.name))
        return known

    async def recall_many(self, questions: Sequence[Question]) -> list[Outcome]:
        """Answer each question on a node that may answer it, and on another one if that fails."""
        outcomes: list[Outcome | None] = [None] * len(questions)
        tried: list[set[str]] = [set() for _ in questions]
        pending = list(range(len(questions)))
        while pending:
            groups: dict[str, tuple[BalancedNode, list[int]]] = {}
            for i in pending:
                node = self._choose(questions[i], tried[i], groups)
                if isinstance(node, MemoryServiceError):
                    outcomes[i] = outcomes[i] or node
                else:
                    groups.setdefault(node.node.name, (node, []))[1].append(i)
            calls = [
                self._ask_group(node, indices, questions, outcomes)
                for node, indices in groups.values()
            ]
            if len(calls) == 1:
                await calls[0]
            else:
                await asyncio.gather(*calls)
            asked = [i for _, indices in groups.values() for i in indices]
            for node, indices in groups.values():
                for i in indices:
                    tried[i].add(node.node.name)
            pending = [i for i in asked if _should_go_on(outcomes[i])]
        return [outcome or _nobody_answers() for outcome in outcomes]

    def _choose(
        self,
        question: Question,
        tried: set[str],
        groups: dict[str, tuple[BalancedNode, list[int]]],
    ) -> BalancedNode | MemoryServiceError:
        """Return the node to ask next, or the error that says why no node can be asked."""
        all_replicas = map(self._balanced, self._group.replicas)
        replicas = [n for n in all_replicas if n.node.name not in tried and n.is_usable]
        if question.consistency == "strong":
            replicas = []
        elif question.consistency != "eventual":
            replicas = [n for n in replicas if n.node.status.has_reached(question.consistency)]
        best = [n for n in replicas if self._is_current(n, question)]
        master = self._master
        if not best and question.consistency == "eventual" and _is_in_doubt(master):
            best = [n for n in replicas if n.node.status.covers(master.node.status)]
        # Questions of a batch that may go to the same replica share one round trip.
        shared = next((n for n in best if n.node.name in groups), None)
        if shared is not None:
            return shared
        if best:
            drawn = self._chance.sample(best, min(2, len(best)))
            return min(drawn, key=lambda node: node.in_flight)
        master_may = master.node.name not in tried and master.breaker.allows
        if master_may and (master.node.status.is_up or not replicas):
            return self._unless_unsure(master, question)
        if replicas:
            return min(replicas, key=lambda node: node.in_flight)
        return _nobody_answers()

    def _unless_unsure(
        self, master: BalancedNode, question: Question
    ) -> BalancedNode | MemoryServiceError:
        """Return the master, unless a `strong` question cannot be sure that it still is."""
        if question.consistency == "strong" and not self._group.has_lease:
            return StorageUnavailable(
                "The Redis master is not certain right now: try again, or use consistency "
                "eventual.",
                retry_after_s=1,
            )
        return _unless_behind(master, question)

    def _is_current(self, node: BalancedNode, question: Question) -> bool:
        status = node.node.status
        if question.consistency != "eventual":
            return status.in_rotation
        return status.in_rotation and status.caught_up_at_s > self._versions.moved_at_s(question)

    async def _ask_group(
        self,
        node: BalancedNode,
        indices: Sequence[int],
        questions: Sequence[Question],
        outcomes: list[Outcome | None],
    ) -> None:
        may_lag = node.node is not self._group.master
        lagging = {i for i in indices if may_lag and not self._is_current(node, questions[i])}
        try:
            answers = await self._ask(node, [questions[i] for i in indices])
        except (StorageError, Overloaded) as error:
            answers = [error] * len(indices)
        for i, answer in zip(indices, answers, strict=True):
            outcomes[i] = answer
            if i in lagging and isinstance(answer, Answer):
                answer.may_lag = True

    async def _ask(self, node: BalancedNode, questions: Sequence[Question]) -> list[Outcome]:
        timeout_s: float | None = self._replica_timeout_s
        if node.node is self._group.master:
            has_others = any(replica.status.is_up for replica in self._group.replicas)
            timeout_s = self._master_timeout_s if has_others else None
        if timeout_s is not None:
            timeout_s += self._own_delay_s()
        node.in_flight += len(questions)
        try:
            with node.breaker.watching():
                try:
                    async with asyncio.timeout(timeout_s) as limit:
                        if timeout_s is not None and _are_eventual(questions):
                            node.node.reads.add(limit)
                        try:
                            return await self._search.recall_many(node.node, questions)
                        finally:
                            node.node.reads.discard(limit)
                except TimeoutError as error:
                    raise StorageTimeout(
                        f"The node {node.node.name} did not answer in time: try again.",
                        retry_after_s=1,
                    ) from error
        finally:
            node.in_flight -= len(questions)


def _are_eventual(questions: Sequence[Question]) -> bool:
    return all(question.consistency == "eventual" for question in questions)


def _is_in_doubt(master: BalancedNode) -> bool:
    """Return whether the master missed its last check. A hanging node is marked down later."""
    return master.node.status.problem is not None


def _unless_behind(master: BalancedNode, question: Question) -> BalancedNode | MemoryServiceError:
    """Return the master, if it has the write of the question's token."""
    if question.consistency in {"eventual", "strong"}:
        return master
    reached = master.node.status.has_reached(question.consistency)
    if reached is None:
        return TokenUnknown(
            "Redis was replaced or failed over since this token was issued: use consistency strong."
        )
    if not reached and not master.node.status.is_master:
        return TokenNotReached("No node has this write yet: try again.", retry_after_s=1)
    return master


def _should_go_on(outcome: Outcome | None) -> bool:
    """Return whether another node might succeed."""
    return isinstance(outcome, StorageError | Overloaded) and outcome.retryable


def _nobody_answers() -> StorageUnavailable:
    return StorageUnavailable("No Redis node can answer now: try again shortly.", retry_after_s=1)
