"""An agent's change feed as lines."""

from collections.abc import Iterator

import msgspec

from coinswarm_memory import Agent
from coinswarm_memory.answers import Experience
from coinswarm_memory.command.printing import line_of, plain

WAIT_S = 10.0
"""Seconds that one request waits for a change."""
_experience = msgspec.json.Decoder(Experience)


def lines(agent: Agent, *, as_json: bool) -> Iterator[str]:
    """Go through what changes from now on, forever: a line for each experience.

    Raises PositionLost if the reader falls further behind than the service keeps.
    """
    position = None
    while True:
        changes = agent.changes(position, wait_s=WAIT_S)
        for rows in changes.put:
            for record in rows.records:
                yield record.decode() if as_json else line_of(_experience.decode(record))
        for memory_id in changes.deleted:
            yield _deleted(memory_id, as_json=as_json)
        position = changes.next


def _deleted(memory_id: str, *, as_json: bool) -> str:
    if as_json:
        return msgspec.json.encode({"id": memory_id, "deleted": True}).decode()
    return f"deleted  {plain(memory_id)}"
