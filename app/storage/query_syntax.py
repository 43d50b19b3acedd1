"""Translates typed filters to RediSearch query text (dialect 2). Values are escaped only here.

A tag is stored as it is, with two exceptions: the engine trims spaces at a tag's ends and splits
tags at the separator. The separator is a control character, which no tag may contain, and a tag
with spaces at its ends is stored between two control characters.
https://redis.io/docs/latest/develop/interact/search-and-query/advanced-concepts/tags/
"""

import re
from collections.abc import Sequence
from typing import Literal

from app.model import (
    EVERY_EXPERIENCE,
    EpisodicFilter,
    EpisodicQuestion,
    RegimeStep,
    SemanticFilter,
    Tags,
)

TAG_SEPARATOR = "\x1f"
_EDGE = "\x80"
_SYNTAX = re.compile(r"([^A-Za-z0-9\u0080-\U0010ffff])")

MATCH_ALL = "*"
EVERY_MEMORY = "@seq:[-inf inf]"
"""A filter that every memory passes: COMPARE_ALL needs one."""
COMPARE_ALL = " HYBRID_POLICY ADHOC_BF"
"""Makes an HNSW index compare with every vector that passes the filter, so the answer is exact."""


def nearest(top_k: int, vector_name: str, attribute: str = "") -> str:
    """Return the clause for the nearest neighbours of the parameter `vector`, with an attribute of
    the search."""
    return f"[KNN {top_k} @{vector_name} $vector{attribute} AS distance]"


_EVERYTHING: list[tuple[RegimeStep | None, str, str]] = [(None, MATCH_ALL, MATCH_ALL)]


def stored_tag(value: str) -> str:
    """Return the tag as the hash field holds it."""
    return f"{_EDGE}{value}{_EDGE}" if value[0] == " " or value[-1] == " " else value


def _escaped(value: str) -> str:
    return _SYNTAX.sub(r"\\\1", stored_tag(value))


def decoded_tags(text: str) -> list[str]:
    """Return the values of `@field:{...}` as the caller gave them. Undoes `_tags`."""
    values = [re.sub(r"\\(.)", r"\1", value) for value in re.findall(r"(?:\\.|[^|\\])+", text)]
    return [value.removeprefix(_EDGE).removesuffix(_EDGE) for value in values]


def _tags(field: str, values: Tags) -> list[str]:
    return [f"@{field}:{{{'|'.join(map(_escaped, values))}}}"] if values else []


def _between(field: str, low: float | None, high: float | None) -> list[str]:
    if low is None and high is None:
        return []
    if low is not None and high is not None and low > high:
        return [_nothing(field)]
    return [
        f"@{field}:[{'-inf' if low is None else repr(low)} {'inf' if high is None else repr(high)}]"
    ]


def _nothing(field: str) -> str:
    """Return a range without any number. Redis 8 refuses a range whose ends are reversed."""
    return f"@{field}:[(0 (0]"


def conjunction(conditions: Sequence[str]) -> str:
    """Join these conditions. Without any, everything matches."""
    return f"({' '.join(conditions)})" if conditions else MATCH_ALL


def keyset(field: str, order: Literal["asc", "desc"], value: float | None, seq: int) -> str:
    """Return the condition for what follows a memory in an order by `field`, then by `seq`
    ascending.

    Memories without a value come last in either direction, as the engine sorts them.
    """
    later = f"@seq:[({seq} inf]"
    no_value = f"-@{field}:[-inf inf]"
    if value is None:
        return f"({no_value} {later})"
    beyond = f"[-inf ({value!r}]" if order == "desc" else f"[({value!r} inf]"
    return f"((@{field}:{beyond})|(@{field}:[{value!r} {value!r}] {later})|({no_value}))"


PINNED = "@pinned:{true}"
NOT_PINNED = "-@pinned:{true}"
"""Also matches memories that were stored without the field."""


def below(field: str, value: float) -> str:
    """Return the condition that a field is less than this."""
    return f"@{field}:[-inf ({value!r}]"


def at_most(field: str, value: float) -> str:
    """Return the condition that a field is at most this."""
    return f"@{field}:[-inf {value!r}]"


def above(field: str, value: float) -> str:
    """Return the condition that a field is more than this."""
    return f"@{field}:[({value!r} inf]"


def without(field: str) -> str:
    """Return the condition that a memory lacks a number."""
    return f"-@{field}:[-inf inf]"


def written_until(seq: int) -> str:
    """Return the condition that a memory was written no later than this one."""
    return f"@seq:[-inf {seq}]"


def episodic_conditions(
    wanted: EpisodicFilter, *, only_agent: str | None = None, except_agent: str | None = None
) -> tuple[str, ...]:
    """Return conditions on experiences. Agents are named only in the shared layout's index."""
    if wanted is EVERY_EXPERIENCE and only_agent is None and except_agent is None:
        return ()
    return (
        *_tags("agent_id", (only_agent,) if only_agent is not None else ()),
        *(f"-{part}" for part in _tags("agent_id", (except_agent,) if except_agent else ())),
        *_tags("product_id", wanted.product_id),
        *_tags("regime", wanted.regime),
        *(f"-{part}" for part in _tags("regime", wanted.except_regime)),
        *_tags("action", wanted.action),
        *_between("reward", wanted.min_reward, wanted.max_reward),
        *_between("timestamp", wanted.since, _earlier(wanted.until, wanted.as_of)),
        *_between("outcome_at", None, wanted.as_of if wanted.horizon is None else None),
        *_tags("horizons", (wanted.horizon,) if wanted.horizon is not None else ()),
        *_quality(wanted.min_quality, wanted.as_of),
        *_tags("episode_id", wanted.episode_id),
        *_between("step", wanted.min_step, wanted.max_step),
        *(("@reward:[-inf inf]",) if wanted.closed else ()),
        *_recorded(wanted),
        *_tags("terminal", () if wanted.terminal is None else (truth_tag(wanted.terminal),)),
    )


def _recorded(wanted: EpisodicFilter) -> list[str]:
    """Return the condition on the time of storing. Memories of a former release, which lack it,
    count as earlier."""
    by = wanted.recorded_by
    if by is None:
        return []
    later = [f"-{above('recorded_at', by)}"]
    if wanted.min_quality is not None:
        later.append(f"-{above('quality_recorded_at', by)}")
    if wanted.as_of is not None and wanted.horizon is None:
        later.append(f"-{above('outcome_recorded_at', by)}")
    return later


def _quality(at_least: float | None, as_of: float | None) -> list[str]:
    """Return the condition on quality. One that was given later than `as_of` does not count."""
    if at_least is None:
        return []
    later = [] if as_of is None else [f"-@quality_at:[({as_of!r} inf]"]
    return [*_between("quality", at_least, None), *later]


def _earlier(one: float | None, other: float | None) -> float | None:
    """Return the earlier of two moments, either of which may be None."""
    known = [moment for moment in (one, other) if moment is not None]
    return min(known, default=None)


def semantic_conditions(wanted: SemanticFilter, *, former: bool = False) -> tuple[str, ...]:
    """Return conditions on current concepts, or with `former` on earlier revisions."""
    return (
        *_tags("memory_type", wanted.memory_type),
        *_tags("regime_name", wanted.regime_name),
        *_between("sharpe_ratio", wanted.min_sharpe_ratio, None),
        *_between("win_rate", wanted.min_win_rate, None),
        *_between("access_count", wanted.min_access_count, None),
        *(() if wanted.as_of is None else _valid(wanted.as_of, former=former)),
    )


def _valid(as_of: float, *, former: bool) -> tuple[str, ...]:
    """Return the condition that this was the concept's content then."""
    if former:
        return (at_most("valid_from", as_of), above("valid_until", as_of))
    return (at_most("created_at", as_of), f"-{above('changed_at', as_of)}")


def truth_tag(value: bool) -> str:
    """Return the tag for a boolean."""
    return "true" if value else "false"


def partition_queries(question: EpisodicQuestion) -> list[tuple[RegimeStep | None, str, str]]:
    """Return the filters for the asker's own index and for another agent's, by regime step."""
    if question.filter is EVERY_EXPERIENCE and question.shared_since is None:
        return _EVERYTHING
    queries = []
    for step, wanted in question.regime_steps():
        shared = question.shared(wanted)
        own = conjunction(episodic_conditions(wanted))
        others = own if shared is wanted else conjunction(episodic_conditions(shared))
        queries.append((step, own, others))
    return queries


def exactly(field: str, value: str) -> str:
    """Return the condition that a tag is this one."""
    return f"@{field}:{{{_escaped(value)}}}"


def still_there(as_of: float) -> str:
    """Return the condition that an experience had not retired yet."""
    return above("retired_at", as_of)


def joint_queries(question: EpisodicQuestion, *more: str) -> list[tuple[RegimeStep | None, str]]:
    """Return the filters for an index of all agents, by regime step, with further conditions."""
    queries: list[tuple[RegimeStep | None, str]] = []
    agent_id = question.agent_id
    for step, wanted in question.regime_steps():
        shared = question.shared(wanted)
        parts = []
        if question.scope == "all" and shared == wanted:
            parts.append(episodic_conditions(wanted))
        else:
            if question.scope != "others":
                parts.append(episodic_conditions(wanted, only_agent=agent_id))
            if question.scope != "own":
                parts.append(episodic_conditions(shared, except_agent=agent_id))
        queries += [(step, conjunction((*part, *more))) for part in parts]
    return queries


def semantic_queries(wanted: SemanticFilter) -> tuple[str, str | None]:
    """Return the filter for current concepts and, for a past moment, for earlier revisions."""
    current = conjunction(semantic_conditions(wanted))
    if wanted.as_of is None:
        return current, None
    return current, conjunction(semantic_conditions(wanted, former=True))
