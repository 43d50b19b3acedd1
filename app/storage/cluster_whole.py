"""Whose answers are whole while slots move and masters fall; the rules are in cluster_trust.py."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

from redis.crc import key_slot

from app.storage.cluster_map import Group
from app.storage.cluster_trust import Words
from app.storage.redis_node import RedisNode
from app.storage.shard import Shard


@dataclass(slots=True)
class _Term:
    """A master since it was first seen as one. `is_settled`: nobody else has a part of its slots
    but who says so; that stays, for from here on the master knows what it gives."""

    master: RedisNode
    group: Group
    since_s: float
    is_settled: bool = False


class Whole:
    """What of the shards' memory may be incomplete where it is asked for.

    `ask_others` asks all masters but those of a group, who are then heard by `words`.
    """

    def __init__(
        self,
        words: Words,
        ask_others: Callable[[Group], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._words = words
        self._ask_others = ask_others
        self._clock = clock
        self._terms: dict[Shard, _Term] = {}
        self._masters: Collection[str] = ()
        self._rounds: dict[Shard, _Rounds] = {}

    def follow(self, groups: Mapping[Shard, Group], masters: Collection[str]) -> None:
        """These are the shards and their masters now; `masters`: the ids of all that may say what
        they take."""
        terms: dict[Shard, _Term] = {}
        for shard, group in groups.items():
            term = self._terms.get(shard)
            if term is None or term.master is not shard.master:
                term = _Term(shard.master, group, self._clock())
            term.group = group
            terms[shard] = term
        self._terms, self._masters = terms, masters
        self._rounds = {shard: self._rounds.get(shard) or _Rounds() for shard in groups}

    def judge(self) -> tuple[frozenset[int], Mapping[Shard, frozenset[str]]]:
        """By what was heard so far: slots, and whole shards, that the master must not be asked for;
        the shards with the ids of those who have to be heard first.

        A master that knows that it gives a slot says itself what it has no more.
        """
        taken: set[int] = set()
        unsettled: dict[Shard, frozenset[str]] = {}
        for shard, term in self._terms.items():
            if not term.is_settled:
                unheard = self._words.unheard_since(term.group, self._masters, term.since_s)
                term.is_settled = not unheard
                if unheard:
                    unsettled[shard] = unheard
            unknown = self._words.taken_from(term.group) - self._words.given_by(term.group)
            taken |= {slot for slot in unknown if _has_slot(term.group, slot)}
        return frozenset(taken), unsettled

    async def missing(
        self, shard: Shard, node: RedisNode, partitions: Collection[str]
    ) -> Collection[str]:
        """Those of which this node, which has just answered, may lack a part."""
        term = self._terms.get(shard)
        if term is None:
            return partitions
        if node is not term.master or not term.is_settled:
            answered_s = self._clock()
            group = term.group
            await self._rounds[shard].one_from_now_on(lambda: self._ask_others(group))
            if self._words.unheard_since(group, self._masters, answered_s):
                return partitions
        taken = self._words.taken_from(term.group)
        return [p for p in partitions if key_slot(p.encode()) in taken] if taken else ()


class _Rounds:
    """Many callers, each of whom wants a round that begins after it asked: few rounds."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._begun = 0
        self._done = 0

    async def one_from_now_on(self, run: Callable[[], Awaitable[None]]) -> None:
        wanted = self._begun + 1
        async with self._lock:
            if self._done >= wanted:
                return
            self._begun += 1
            begun = self._begun
            await run()
            self._done = begun


def _has_slot(group: Group, slot: int) -> bool:
    return any(low <= slot <= high for low, high in group.slots)
