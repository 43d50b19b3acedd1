"""Shows stores, outcomes and recalls to those who watch, as they happen.

Nothing is kept. What changes a memory comes out of the agents' change feeds, by any writer; a
process reads them while it has watchers. Questions leave no trace there: while somebody watches, in
any process, each process sends what it answered twice a second. While nobody watches, a question
costs a check of one flag.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

import orjson

from app.auth import caller as access
from app.errors import Overloaded
from app.memory.questions import refuse_present
from app.model import Answer
from app.nodes.broadcast import Broadcast

Kind = Literal["recall", "estimate"]

TELL_INTERVAL_S: Final = 0.5
MAX_TOLD = 100
"""Events that one process sends at once; more are only counted."""
MAX_WATCHERS = 32
"""Streams that one process serves at once."""
MAX_BEHIND = 64
"""Messages that may wait for a slow reader; beyond that the oldest are dropped."""
NEAREST = 10
"""Of how many of an answer's nearest memories an event names the owners."""
OWNERS = 8
"""How many owners an event about several answers names."""


class ChangeReader(Protocol):
    """Reads what changes in any agent's memory (app/feed/tail.py)."""

    async def begin(self) -> None:
        """Tell of changes from now on. Raise StorageError."""

    def end(self) -> None:
        """Tell of no more changes."""

    async def read(self) -> list[dict[str, Any]]:
        """Return what changed since the last call. Raise StorageError."""
        ...


@dataclass(slots=True)
class _Watcher:
    messages: asyncio.Queue[bytes] = field(
        default_factory=lambda: asyncio.Queue(maxsize=MAX_BEHIND)
    )
    lost: int = 0


class Live:
    """The events of this process, and the watchers that it serves. `now` returns unix seconds."""

    def __init__(
        self, broadcast: Broadcast, changes: ChangeReader, now: Callable[[], float]
    ) -> None:
        self._broadcast = broadcast
        self._changes = changes
        self._now = now
        self._events: list[dict[str, Any]] = []
        self._lost = 0
        self._watchers: list[_Watcher] = []
        self._listening = AsyncExitStack()
        self._changing = asyncio.Lock()
        self.is_watched = False

    def note(self, kind: Kind, agent_id: str, **told: object) -> None:
        """Record an event. Call this only while `is_watched`."""
        if len(self._events) < MAX_TOLD:
            event = {"at": self._now(), "kind": kind, "agent_id": agent_id, **told}
            self._events.append(event)
        else:
            self._lost += 1

    async def tell(self) -> None:
        """Send the recorded events, and find out whether anybody watches. Raise StorageError."""
        events, self._events = self._events, []
        lost, self._lost = self._lost, 0
        if events or lost:
            await self._broadcast.send(orjson.dumps({"events": events, "lost": lost}))
        # Counting listeners is cheaper than publishing, which also reaches the replicas.
        self.is_watched = await self._broadcast.listeners() > 0
        if self._watchers and (changed := await self._changes.read()):
            self._heard(orjson.dumps({"events": changed, "lost": 0}))

    async def watch(self, seconds: float) -> AsyncGenerator[dict[str, Any] | None, None]:
        """Yield what happens from now on, for this many seconds, limited to what the caller may
        see.

        Yields None if nothing happens for a while. Raise InvalidInput or Overloaded.
        """
        refuse_present("the live view")
        asking = access.caller.get()
        ends_at_s = asyncio.get_running_loop().time() + seconds
        async with self._watching() as watcher:
            yield None
            while (left_s := ends_at_s - asyncio.get_running_loop().time()) > 0:
                try:
                    async with asyncio.timeout(min(left_s, 10.0)):
                        message = await watcher.messages.get()
                except TimeoutError:
                    yield None
                    continue
                told = orjson.loads(message)
                seen = [event for event in told["events"] if asking.may_touch(event["agent_id"])]
                # This caller may not know how much others do.
                lost = told["lost"] if asking.agents is None else 0
                behind, watcher.lost = watcher.lost, 0
                if seen or lost or behind:
                    yield {"events": _visible(seen, asking), "lost": lost + behind}

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[_Watcher]:
        if len(self._watchers) >= MAX_WATCHERS:
            raise Overloaded("Too many live views are open: close one.", retry_after_s=5)
        watcher = _Watcher()
        async with self._changing:
            if not self._watchers:
                await self._changes.begin()
                await self._listening.enter_async_context(self._broadcast.listening(self._heard))
            self._watchers.append(watcher)
        try:
            yield watcher
        finally:
            async with self._changing:
                self._watchers.remove(watcher)
                if not self._watchers:
                    self._changes.end()
                    await self._listening.aclose()

    def _heard(self, message: bytes) -> None:
        for watcher in self._watchers:
            if watcher.messages.full():
                watcher.lost += len(orjson.loads(watcher.messages.get_nowait())["events"])
            watcher.messages.put_nowait(message)


def _visible(events: list[dict[str, Any]], asking: access.Principal) -> list[dict[str, Any]]:
    """Return the events without the names of other agents whose memories answered."""
    if asking.agents is None:
        return events
    return [
        event
        | {"owners": {name: n for name, n in event["owners"].items() if asking.may_touch(name)}}
        if "owners" in event
        else event
        for event in events
    ]


def told_of_answer(answer: Answer, *, scope: str, took_ms: float) -> dict[str, object]:
    """Return what an event reports of an answer."""
    places = answer.places
    if places is not None:
        found, nearest = len(places), min(places.distances, default=None)
    else:
        found, nearest = len(answer.hits), answer.hits[0].distance if answer.hits else None
    told: dict[str, object] = {
        "scope": scope,
        "found": found,
        "nearest": nearest,
        "cached": answer.cached,
        "took_ms": round(took_ms, 3),
    }
    if scope != "own":
        told["owners"] = Counter(_owners(answer))
    return told


def _owners(answer: Answer) -> Iterable[str]:
    if answer.places is not None:
        return (answer.places.agents[at] for at in answer.places.which[:NEAREST])
    return (orjson.loads(hit.record)["agent_id"] for hit in answer.hits[:NEAREST])
