"""The swarm's memory: where every use of the client begins."""

import ssl
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from coinswarm_memory._async.agent import AsyncAgent
from coinswarm_memory._async.caller import AsyncCaller
from coinswarm_memory._async.concepts import AsyncConcepts
from coinswarm_memory._async.distances import AsyncDistances
from coinswarm_memory._async.draw import AsyncDraw, draw
from coinswarm_memory._async.wire import AsyncWire
from coinswarm_memory.answers import AgentSummary, Identity, UpliftFigures
from coinswarm_memory.connection import connection
from coinswarm_memory.encode.times import TimeLike
from coinswarm_memory.errors import CallTimedOut, ServiceProblem, ServiceUnreachable
from coinswarm_memory.operations import service, verdicts
from coinswarm_memory.operations.fields import contract_fields
from coinswarm_memory.operations.filters import ExperienceFilters
from coinswarm_memory.view import View

DEFAULT_URL = "http://127.0.0.1:8000"
_PAGE = 1000


class AsyncMemory:
    """A client of one service. Use it as a context manager, or call `close` at the end.

    `api_key`: the caller's key; the environment's MEMORY_API_KEY when none is given. `timeout_s`: a
    call's time, its retries included. `dimension`: how many numbers a state has; asked of the
    service when none is given. `max_connections`: requests in progress at once; more wait.
    `transport` replaces httpx's own, for proxies.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: str | None = None,
        timeout_s: float = 5.0,
        *,
        dimension: int | None = None,
        max_connections: int = 64,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        wire = AsyncWire(connection(url, api_key, max_connections, verify), transport)
        self._begin(AsyncCaller(wire, timeout_s=timeout_s, dimension=dimension), View())

    def _begin(self, caller: AsyncCaller, view: View) -> None:
        self._caller = caller
        self._view = view
        self.concepts = AsyncConcepts(caller, view)
        self.distances = AsyncDistances(caller, view)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections, those of its views too."""
        await self._caller.close()

    def agent(self, id: str) -> AsyncAgent:
        """Return the memory of one agent. Nothing is sent."""
        return AsyncAgent(self._caller, id, self._view)

    def at(self, moment: TimeLike) -> "AsyncMemory":
        """Return a view of the memory as it was known at a moment, for backtests.

        Every question of the view carries that moment as `as_of`. A question about a later moment
        raises LookAhead. Writes, and calls that only know the present, raise ReadOnlyView.
        """
        view = object.__new__(type(self))
        view._begin(self._caller, self._view.at(moment))
        return view

    async def sample(
        self,
        size: int = 32,
        *,
        strategy: str = "uniform",
        seed: int | None = None,
        **filters: Unpack[ExperienceFilters],
    ) -> AsyncDraw:
        """Return closed experiences of all agents, drawn at random, as arrays to train on."""
        wanted: dict[str, Any] = {
            **filters,
            "size": size,
            "strategy": strategy,
            "seed": seed,
            "as_of": self._view.bounded(filters.get("as_of")),
        }
        return await draw(self._caller, contract_fields(wanted), self._view)

    async def stats(self, agent: str | None = None) -> dict[str, Any]:
        """Return what is stored: counts, algorithm and bytes per agent and index."""
        self._view.require_present("Counting")
        return await self._caller.call(service.stats(agent))

    async def whoami(self) -> Identity:
        """Return the role, the agents and the limits of the caller's key."""
        return await self._caller.call(service.whoami())

    async def agents(self) -> AsyncIterator[AgentSummary]:
        """Go through the agents that the caller may see, with their counts and latest time."""
        self._view.require_present("Counting")
        cursor: str | None = None
        while True:
            page = await self._caller.call(service.agents(cursor, _PAGE))
            for agent in page.agents:
                yield agent
            cursor = page.next_cursor
            if cursor is None:
                return

    async def uplifts(self) -> AsyncIterator[UpliftFigures]:
        """Go through the agents with closed decisions: what the memory adds to each."""
        self._view.require_present("Comparing")
        cursor: str | None = None
        while True:
            page = await self._caller.call(verdicts.uplifts(cursor, _PAGE))
            for agent in page.agents:
                yield agent
            cursor = page.next_cursor
            if cursor is None:
                return

    async def is_ready(self, timeout_s: float = 2.0) -> bool:
        """Return whether every part of the service can do its work now."""
        try:
            await self._caller.call(service.readiness(), timeout_s)
        except (ServiceProblem, ServiceUnreachable, CallTimedOut):
            return False
        return True
