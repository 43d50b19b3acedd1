"""Follows an agent's memory: returns what changed since a position, now or as soon as something
does."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

from app.auth.limits import AgentAdmission
from app.context import remaining_s
from app.feed.position import Position, parse_position
from app.feed.stream import ChangeStreams, Reading
from app.feed.waiting import LOOK_AGAIN_S, ChangeSignal, wait
from app.memory.questions import refuse_present

MARGIN_S = 0.1
"""Part of the request's time that is reserved for the answer."""


class FollowOperations:
    """Reads agents' feeds. Waiting ends once `is_ending` says that the process is ending."""

    def __init__(self, streams: ChangeStreams, signal: ChangeSignal, admit: AgentAdmission) -> None:
        self._streams = streams
        self._signal = signal
        self._admit = admit

    async def changes(
        self,
        agent_id: str,
        after: str | None,
        *,
        limit: int,
        wait_s: float,
        is_ending: Callable[[], bool],
    ) -> tuple[Reading, float]:
        """Return what changed after a position, and the seconds that passed before it was read.

        Waits up to `wait_s` if nothing changed. `after` None means from now on. Raise PositionLost,
        InvalidInput, Overloaded or StorageError.
        """
        position = await self.admitted(agent_id, after)
        began_s = time.monotonic()
        left_s = remaining_s()
        wait_s = wait_s if left_s is None else min(wait_s, left_s - MARGIN_S)
        if wait_s <= 0:
            waited_s = time.monotonic() - began_s
            return await self._streams.read(agent_id, position, limit), waited_s
        with self._signal.watching(agent_id) as event:
            while True:
                event.clear()  # before reading, so that a change during it is read again
                waited_s = time.monotonic() - began_s
                reading = await self._streams.read(agent_id, position, limit)
                left_s = wait_s - (time.monotonic() - began_s)
                is_news = bool(reading.changes) or not reading.is_all
                if is_news or left_s <= 0 or is_ending():
                    return reading, waited_s
                position = reading.next
                await _until_changed(event, left_s, is_ending)

    async def admitted(self, agent_id: str, after: str | None) -> Position:
        """Return the position, if the caller may follow this agent from there. None: from now."""
        await self._admit(agent_id)
        refuse_present("the change feed")
        if after is None:
            return await self._streams.begin(agent_id)
        return parse_position(after, "after")

    async def follow(
        self,
        agent_id: str,
        position: Position,
        *,
        limit: int,
        silence_s: float,
        is_ending: Callable[[], bool],
    ) -> AsyncGenerator[Reading, None]:
        """Yield what changed after a position, forever, and an empty reading after each silence.

        Raise as `changes` does.
        """
        with self._signal.watching(agent_id) as event:
            while not is_ending():
                event.clear()
                reading = await self._streams.read(agent_id, position, limit)
                position = reading.next
                yield reading
                if reading.is_all:
                    await _until_changed(event, silence_s, is_ending)


async def _until_changed(
    event: asyncio.Event, at_most_s: float, is_ending: Callable[[], bool]
) -> None:
    end_s = time.monotonic() + at_most_s
    while not is_ending():
        left_s = end_s - time.monotonic()
        if left_s <= 0 or await wait(event, min(left_s, LOOK_AGAIN_S)):
            return
