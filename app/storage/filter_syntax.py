"""Typed filters to RediSearch query text (dialect 2). The only place where values are escaped.

A tag is stored as it is, with two exceptions made here: the engine trims spaces at a tag's ends
and splits tags at the separator. The separator is a control character, which no tag may hold, and
a tag with spaces at its ends is stored between two control characters.
https://redis.io/docs/latest/develop/interact/search-and-query/advanced-concepts/tags/
"""

import re

from app.filters import EpisodicFilter, SemanticFilter, Tags

TAG_SEPARATOR = "\x1f"
_EDGE = "\x80"
_SYNTAX = re.compile(r"([^A-Za-z0-9_\u0080-\U0010ffff])")

MATCH_ALL = "*"


def stored_tag(value: str) -> str:
    """The tag as the hash field holds it."""
    return f"{_EDGE}{value}{_EDGE}" if value[0] == " " or value[-1] == " " else value


def _escaped(value: str) -> str:
    return _SYNTAX.sub(r"\\\1", stored_tag(value))


def _tags(field: str, values: Tags) -> list[str]:
    return [f"@{field}:{{{'|'.join(map(_escaped, values))}}}"] if values else []


def _between(field: str, low: float | None, high: float | None) -> list[str]:
    if low is None and high is None:
        return []
    return [
        f"@{field}:[{'-inf' if low is None else repr(low)} {'inf' if high is None else repr(high)}]"
    ]


def _conjunction(parts: list[str]) -> str:
    return f"({' '.join(parts)})" if parts else MATCH_ALL


def episodic_query(
    wanted: EpisodicFilter, *, only_agent: str | None = None, except_agent: str | None = None
) -> str:
    """Query text for experiences. The agents are named only in the shared layout's index."""
    parts = [
        *_tags("agent_id", (only_agent,) if only_agent is not None else ()),
        *(f"-{part}" for part in _tags("agent_id", (except_agent,) if except_agent else ())),
        *_tags("product_id", wanted.product_id),
        *_tags("regime", wanted.regime),
        *_tags("action", wanted.action),
        *_between("reward", wanted.min_reward, wanted.max_reward),
        *_between("timestamp", wanted.since, wanted.until),
        *_tags("terminal", () if wanted.terminal is None else (terminal_tag(wanted.terminal),)),
    ]
    return _conjunction(parts)


def semantic_query(wanted: SemanticFilter) -> str:
    """Query text for concepts."""
    parts = [
        *_tags("memory_type", wanted.memory_type),
        *_tags("regime_name", wanted.regime_name),
        *_between("sharpe_ratio", wanted.min_sharpe_ratio, None),
        *_between("win_rate", wanted.min_win_rate, None),
        *_between("access_count", wanted.min_access_count, None),
    ]
    return _conjunction(parts)


def terminal_tag(terminal: bool) -> str:
    """The tag that stands for a truth value."""
    return "true" if terminal else "false"
