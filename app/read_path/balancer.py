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
_OF_THE_NODE = (StorageError, Overloaded)


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
        lone = self._lone_master(questions)
        if lone is None:
            return await self._ask_in_turn(questions, [None] * len(questions), set())
        answers = await self._try(lone, questions, None)
        if not [answer for answer in answers if _should_go_on(answer)]:
            return answers
        return await self._ask_in_turn(questions, [*answers], {lone.node.name})

    def _lone_master(self, questions: Sequence[Question]) -> BalancedNode | None:
        """Return the master if `_choose` would have no other choice for any question."""
        if self._group.replicas or not _are_eventual(questions):
            return None
        master = self._master
        return master if master.breaker.is_closed else None

    async def _ask_in_turn(
        self, questions: Sequence[Question], outcomes: list[Outcome | None], asked_once: set[str]
    ) -> list[Outcome]:
        """Ask one node after the other. `asked_once` are those that gave the outcomes so far."""
        tried = [asked_once.copy() for _ in questions]
        pending = [i for i, known in enumerate(outcomes) if known is None or _should_go_on(known)]
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
        lagging: set[int] = set()
        if node.node is not self._group.master:
            lagging = {i for i in indices if not self._is_current(node, questions[i])}
        asked = [questions[i] for i in indices]
        answers = await self._try(node, asked, self._timeout_s(node))
        for i, answer in zip(indices, answers, strict=True):
            outcomes[i] = answer
            if i in lagging and isinstance(answer, Answer):
                answer.may_lag = True

    async def _try(
        self, node: BalancedNode, questions: Sequence[Question], timeout_s: float | None
    ) -> list[Outcome]:
        """Return the node's answers, or its failure for each question."""
        node.in_flight += len(questions)
        try:
            with node.breaker.watching():
                if timeout_s is None:
                    return await self._search.recall_many(node.node, questions)
                return await self._ask_within(timeout_s, node.node, questions)
        except _OF_THE_NODE as error:
            return [error] * len(questions)
        finally:
            node.in_flight -= len(questions)

    def _timeout_s(self, node: BalancedNode) -> float | None:
        """Return how long to wait for the node. None without another one that could answer."""
        timeout_s: float | None = self._replica_timeout_s
        if node.node is self._group.master:
            others = self._group.replicas
            has_others = bool(others) and any(replica.status.is_up for replica in others)
            timeout_s = self._master_timeout_s if has_others else None
        return None if timeout_s is None else timeout_s + self._own_delay_s()

    async def _ask_within(
        self, timeout_s: float, node: RedisNode, questions: Sequence[Question]
    ) -> list[Outcome]:
        try:
            async with asyncio.timeout(timeout_s) as limit:
                if _are_eventual(questions):
                    node.reads.add(limit)
                try:
                    return await self._search.recall_many(node, questions)
                finally:
                    node.reads.discard(limit)
        except TimeoutError as error:
            raise StorageTimeout(
                f"The node {node.name} did not answer in time: try again.", retry_after_s=1
            ) from error


def _are_eventual(questions: Sequence[Question]) -> bool:
    return not [question for question in questions if question.consistency != "eventual"]


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
    return isinstance(outcome, _OF_THE_NODE) and outcome.retryable


def _nobody_answers() -> StorageUnavailable:
    return StorageUnavailable("No Redis node can answer now: try again shortly.", retry_after_s=1)
