"""When memories retired, and up to which time retired ones were purged: one hash on each shard.

A question as of a moment reads it in the same round trip as its search, and asks the index of
retired experiences only if the latest retirement came after that moment. So a question costs the
same as before until memories retire, and a question about the present always does.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from app import keys
from app.model import EpisodicQuestion
from app.nodes.client import Client
from app.nodes.commands import Words, ask_all
from app.nodes.reads import ReadRouter


@dataclass(frozen=True, slots=True)
class Moments:
    """Unix seconds. `newest`: the latest retirement on the shard. `purged`: the latest `retired_at`
    of what was purged, by agent, and under the empty name of all agents."""

    newest: float = -math.inf
    purged: Mapping[str, float] = field(default_factory=dict)

    def whole_since(self, agent_id: str, as_of: float) -> float | None:
        """Return since when answers about an agent (or all, for the empty name) are complete; None
        if they are at this moment."""
        purged = self.purged.get(agent_id, -math.inf)
        return purged if as_of < purged else None

    def purged_of(self, question: EpisodicQuestion) -> float | None:
        """Return since when answers to such a question are complete; None if its own is."""
        as_of = question.filter.as_of
        if as_of is None:
            return None
        return self.whole_since(question.agent_id if question.scope == "own" else "", as_of)


NEVER = Moments()


def _names(questions: Sequence[EpisodicQuestion]) -> list[str]:
    return ["", *dict.fromkeys(q.agent_id for q in questions if q.scope == "own")]


def moments_command(questions: Sequence[EpisodicQuestion]) -> Words:
    """Return the command that reads what these questions need to know."""
    return _command(_names(questions))


def read_moments(reply: object, questions: Sequence[EpisodicQuestion]) -> Moments:
    """Return what the reply to `moments_command` says. Raise the reply if it is an error."""
    return _moments(reply, _names(questions))


async def has_retired_since(reads: ReadRouter, agent_id: str, as_of: float | None) -> bool:
    """Return whether memories on an agent's shard retired after a moment; None is the present."""
    if as_of is None:
        return False
    partition = keys.episodic_partition(agent_id)
    return as_of < (await reads.read(partition, partial(moments_of, agent_id=agent_id))).newest


async def whole_since(reads: ReadRouter, agent_id: str | None, as_of: float | None) -> float | None:
    """Return since when answers about an agent (None: about all) are complete; None if they are at
    this moment. Raise StorageError."""
    if as_of is None:
        return None
    if agent_id is not None:
        partition = keys.episodic_partition(agent_id)
        found = await reads.read(partition, partial(moments_of, agent_id=agent_id))
        return found.whole_since(agent_id, as_of)
    of_all = [await reads.read_on(s, partial(moments_of, agent_id="")) for s in reads.shards]
    purged = [moments.whole_since("", as_of) for moments in of_all]
    return max((moment for moment in purged if moment is not None), default=None)


async def moments_of(node: Client, agent_id: str) -> Moments:
    """Return when memories of an agent retired and were purged. Raise StorageError."""
    names = ["", agent_id]
    (reply,) = await ask_all(node, [_command(names)])
    return _moments(reply, names)


def _command(names: Sequence[str]) -> Words:
    fields = [f"purged:{name}" if name else "purged" for name in names]
    return ("HMGET", keys.RETIREMENTS, "newest", *fields)


def _moments(reply: object, names: Sequence[str]) -> Moments:
    if isinstance(reply, Exception):
        raise reply
    assert isinstance(reply, list)
    newest, *purged = reply
    if newest is None and not any(purged):
        return NEVER
    told = zip(names, purged, strict=True)
    return Moments(
        -math.inf if newest is None else float(newest),
        {name: float(value) for name, value in told if value is not None},
    )
