"""Reports changes in any agent's memory to live views, from the agents' change feeds.

Every process hears which partitions are written to (app/nodes/changes.py). So only the feeds of
agents that changed are read. They cover every writer: a store, an import, retention, another
service.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app import keys
from app.errors import StorageError
from app.nodes.commands import Words, ask_all, ask_each, ask_one
from app.nodes.shard import Shard, Shards

MS_PER_S = 1000
AGENTS_AT_ONCE = 50
"""Feeds read in one turn; the others wait for the next one."""
ENTRIES_AT_ONCE = 200
"""Entries of one feed read in one turn. What is left is read in the next one."""
MAX_AGENTS = 10_000
"""Agents whose place in the feed is remembered."""
SHOWN = ("product_id", "regime", "action", "reward")

_OF_PUT = {b"outcome": "outcome", b"rating": "rating"}


@dataclass(slots=True)
class _Told:
    """An entry, or several of one kind in a row. `at_ms`: when Redis made the change."""

    at_ms: int
    kind: str
    ids: list[str]


class ChangeTail:
    """Reads what is new in the feeds. While nobody watches it remembers nothing."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._is_watched = False
        self._began: dict[str, str] = {}
        self._last: dict[str, str] = {}
        self._changed: dict[str, None] = {}

    async def begin(self) -> None:
        """Report changes from now on. Raise StorageError."""
        self._is_watched = True
        for shard in self._shards:
            try:
                shard.master.require_up()
                seconds, microseconds = await ask_one(shard.master.client, "TIME")
                at_ms = int(seconds) * MS_PER_S + int(microseconds) // MS_PER_S
            except StorageError:
                if not shard.name:
                    raise
                at_ms = int(time.time() * MS_PER_S)  # the group is away, and so is its clock
            self._began[shard.name] = f"{at_ms}-0"

    def end(self) -> None:
        """Report no more changes."""
        self._is_watched = False
        for kept in (self._began, self._last, self._changed):
            kept.clear()

    def changed(self, partition: str) -> None:
        """Record that a partition was written to."""
        agent_id = keys.partition_owner(partition)
        if self._is_watched and agent_id:
            self._changed[agent_id] = None

    def all_changed(self) -> None:
        """Record that writes may have been missed; the feeds have them."""
        self._changed |= dict.fromkeys(self._last)

    async def read(self) -> list[dict[str, Any]]:
        """Return what changed since the last call, as events. Raise StorageError."""
        agents = list(self._changed)[:AGENTS_AT_ONCE]
        for agent_id in agents:
            del self._changed[agent_id]
        events: list[dict[str, Any]] = []
        by_shard: dict[Shard, list[str]] = {}
        for agent_id in agents:
            by_shard.setdefault(await self._shards.locate_group(agent_id), []).append(agent_id)
        for shard, some in by_shard.items():
            try:
                shard.master.require_up()
                events += await self._read_on(shard, some)
            except StorageError:
                if not shard.name:
                    raise
                self._changed |= dict.fromkeys(some)  # to be read when the group is back
        return events

    async def _read_on(self, shard: Shard, agents: Sequence[str]) -> list[dict[str, Any]]:
        asked: list[Words] = [
            (
                *("XRANGE", keys.episodic_changes(agent_id)),
                f"({self._last.get(agent_id, self._began[shard.name])}",
                *("+", "COUNT", ENTRIES_AT_ONCE),
            )
            for agent_id in agents
        ]
        told: list[tuple[str, _Told]] = []
        replies = await ask_each(shard.master.client, asked)
        for agent_id, entries in zip(agents, replies, strict=True):
            if isinstance(entries, Exception) or not entries:  # a foreign key in the feed's place
                continue
            if len(self._last) >= MAX_AGENTS:
                self._last.clear()
            self._last[agent_id] = entries[-1][0].decode()
            if len(entries) == ENTRIES_AT_ONCE:
                self._changed[agent_id] = None
            told += [(agent_id, one) for one in _told(entries)]
        return await _events(shard, told)


def _told(entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> Iterator[_Told]:
    """Yield what entries report. Consecutive batches, or ratings, are merged into one."""
    former: _Told | None = None
    for name, fields in entries:
        if b"delete" in fields:
            kind, named = "delete", fields[b"delete"]
        elif b"put" in fields:
            kind, named = _OF_PUT.get(fields.get(b"by", b""), "store"), fields[b"put"]
        else:  # an entry to begin with
            continue
        ids = named.decode().split("\n")
        if former is not None and former.kind == kind:
            are_batches = len(ids) > 1 and len(former.ids) > 1
            if are_batches or kind in {"rating", "delete"}:
                former.ids += ids
                continue
        if former is not None:
            yield former
        former = _Told(int(name.partition(b"-")[0]), kind, ids)
    if former is not None:
        yield former


async def _events(shard: Shard, told: Sequence[tuple[str, _Told]]) -> list[dict[str, Any]]:
    """Return events; one memory that is there comes with what it is about."""
    single = [
        (agent_id, one.ids[0])
        for agent_id, one in told
        if len(one.ids) == 1 and one.kind != "delete"
    ]
    records = await ask_all(
        shard.master.client,
        [("HGET", keys.episodic_memory(*names), "record") for names in single],
    )
    found = dict(zip(single, records, strict=True))
    events = []
    for agent_id, one in told:
        event = {"at": one.at_ms / 1000, "kind": one.kind, "agent_id": agent_id}
        event["count"] = len(one.ids)
        if len(one.ids) == 1:
            event["id"] = one.ids[0]
            record = found.get((agent_id, one.ids[0]))
            if record is not None:
                memory = orjson.loads(record)
                event |= {name: memory[name] for name in SHOWN}
        events.append(event)
    return events
