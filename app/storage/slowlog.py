"""Redis's slow log, decoded: who asked for what, never a vector or a secret.

Redis keeps at most 32 words of a command and 128 bytes of a word, so a long filter is decoded as
far as it was kept. Of commands that are not the service's, only the name is shown.
https://redis.io/docs/latest/commands/slowlog-get/
"""

import asyncio
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app import keys
from app.errors import MemoryServiceError, StorageError
from app.nodes.client import Client
from app.nodes.commands import ask_one
from app.nodes.node import RedisNode
from app.nodes.redis_errors import refusal_of
from app.nodes.shard import Shards
from app.storage.query_syntax import decoded_tags

logger = logging.getLogger(__name__)

FilterValue = list[str] | bool | float | str

_CUT = re.compile(r"\.\.\. \(\d+ more (?:bytes|arguments)\)$")
_CONDITION = re.compile(
    r"(?P<not>-?)@(?P<field>\w+):"
    r"(?:\{(?P<tags>(?:\\.|[^}\\])*)\}|\[(?P<low>\S+) (?P<high>[^\]\s]+)\])"
)
_QUERIES = {"FT.SEARCH", "FT.AGGREGATE"}
_WRITES = {"EVALSHA", "HSET", "UNLINK", "DEL", "SADD", "HINCRBY", "FCALL"}
_READS = {"HMGET", "HGET", "EXISTS", "SMEMBERS", "FCALL_RO"}
_BOUNDS = {
    "reward": ("min_reward", "max_reward"),
    "timestamp": ("since", "until"),
    "outcome_at": ("known_since", "as_of"),
    "sharpe_ratio": ("min_sharpe_ratio", "max_sharpe_ratio"),
    "win_rate": ("min_win_rate", "max_win_rate"),
    "access_count": ("min_access_count", "max_access_count"),
}


@dataclass(frozen=True, slots=True)
class SlowCall:
    """One slow command. `at` is unix seconds; `agent_id` is None if it concerns no single agent.

    `kind`: vector_similarity, semantic_similarity, range, semantic_range, count, listing, write,
    read, index or other. `cut`: Redis kept only the beginning of the filter.
    """

    node: str
    at: float
    took_ms: float
    kind: str
    command: str
    agent_id: str | None
    filters: Mapping[str, FilterValue]
    cut: bool


class SlowLog:
    """Reads the slow log of every node."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def read(self, limit: int) -> tuple[list[SlowCall], list[str]]:
        """Return the latest calls of all nodes, newest first, and the nodes that did not answer."""
        nodes = self._shards.nodes
        logs = await asyncio.gather(*(_read(node, limit) for node in nodes), return_exceptions=True)
        calls: list[SlowCall] = []
        silent: list[str] = []
        for node, log in zip(nodes, logs, strict=True):
            if isinstance(log, MemoryServiceError):
                silent.append(node.name)
            elif isinstance(log, BaseException):
                raise log
            else:
                calls += log
        return sorted(calls, key=lambda call: call.at, reverse=True)[:limit], silent


async def note_slower_than(node: Client, name: str, slower_than_us: int) -> None:
    """Make a node log commands that take longer. Only warns if CONFIG SET is not allowed."""
    try:
        await ask_one(node, "CONFIG", "SET", "slowlog-log-slower-than", slower_than_us)
    except StorageError as error:
        if refusal_of(error) is None:
            raise
        logger.warning(
            "this Redis does not let the service set slowlog-log-slower-than",
            extra={"node": name, "cause": refusal_of(error)},
        )


async def _read(node: RedisNode, limit: int) -> list[SlowCall]:
    node.require_up()
    async with node.reading():
        entries = await ask_one(node.probe, "SLOWLOG", "GET", limit)
    return [_decoded(node.name, entry) for entry in entries]


def _decoded(node: str, entry: Sequence[Any]) -> SlowCall:
    _, at, took_us, raw = entry[:4]
    words = [word.decode("utf-8", "replace") for word in raw]
    query = words[2] if words[0].upper() in _QUERIES and words[2:] else ""
    return SlowCall(
        node=node,
        at=float(at),
        took_ms=took_us / 1000,
        kind=_kind(words, query),
        command=words[0].upper(),
        agent_id=_agent(words),
        filters=decoded_filters(query),
        cut=bool(_CUT.search(query)),
    )


def _kind(words: Sequence[str], query: str) -> str:
    name = words[0].upper()
    if name in _WRITES or name in _READS:
        return "write" if name in _WRITES else "read"
    if not query:
        return "index" if name.startswith("FT.") else "other"
    semantic = words[1].startswith(keys.SEMANTIC_INDEX)
    if name == "FT.AGGREGATE":
        return "semantic_range" if semantic else "range"
    if "PARAMS" in words:
        return "semantic_similarity" if semantic else "vector_similarity"
    return "listing" if "NOCONTENT" in words else "count"


def _agent(words: Sequence[str]) -> str | None:
    """Return the agent named by a key, partition or index, or by the filter of the shared index."""
    for word in words[1:6]:
        if word.startswith("episodic") and "{" in word:
            name, closed, _ = word.partition("{")[2].partition("}")
            return name if closed else None
    if words[0].upper() not in _QUERIES:
        return None
    for found in _CONDITION.finditer(" ".join(words[2:3])):
        if found["field"] == "agent_id" and found["tags"] and not found["not"]:
            return decoded_tags(found["tags"])[0]
    return None


def _finite(bound: str) -> float | None:
    """Return a bound as a number. None for an open end, or if Redis cut the text."""
    try:
        value = float(bound)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def decoded_filters(query: str) -> dict[str, FilterValue]:
    """Return a query's conditions under the API's names."""
    filters: dict[str, FilterValue] = {}
    for found in _CONDITION.finditer(query):
        field, tags = found["field"], found["tags"]
        if field == "seq" or (field == "agent_id" and not found["not"]):
            continue
        if tags is not None:
            name = f"not_{field}" if found["not"] else field
            values = decoded_tags(tags)
            if not values:
                continue
            filters[name] = values[0] == "true" if field == "terminal" else values
            continue
        low, high = found["low"].lstrip("("), found["high"].lstrip("(")
        names = _BOUNDS.get(field, (f"min_{field}", f"max_{field}"))
        if found["not"]:
            filters[f"no_{field}"] = True
            continue
        for name, bound in zip(names, (low, high), strict=True):
            value = _finite(bound)
            if value is not None:
                filters[name] = value
    return filters
