"""The swarm's memory: where every use of the client begins."""

import ssl
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from coinswarm_memory._sync.agent import Agent
from coinswarm_memory._sync.caller import Caller
from coinswarm_memory._sync.concepts import Concepts
from coinswarm_memory._sync.distances import Distances
from coinswarm_memory._sync.draw import Draw, draw
from coinswarm_memory._sync.wire import Wire
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


class Memory:
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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        wire = Wire(connection(url, api_key, max_connections, verify), transport)
        self._begin(Caller(wire, timeout_s=timeout_s, dimension=dimension), View())

    def _begin(self, caller: Caller, view: View) -> None:
        self._caller = caller
        self._view = view
        self.concepts = Concepts(caller, view)
        self.distances = Distances(caller, view)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections, those of its views too."""
        self._caller.close()

    def agent(self, id: str) -> Agent:
        """Return the memory of one agent. Nothing is sent."""
        return Agent(self._caller, id, self._view)

    def at(self, moment: TimeLike) -> "Memory":
        """Return a view of the memory as it was known at a moment, for backtests.

        Every question of the view carries that moment as `as_of`. A question about a later moment
        raises LookAhead. Writes, and calls that only know the present, raise ReadOnlyView.
        """
        view = object.__new__(type(self))
        view._begin(self._caller, self._view.at(moment))
        return view

    def sample(
        self,
        size: int = 32,
        *,
        strategy: str = "uniform",
        seed: int | None = None,
        **filters: Unpack[ExperienceFilters],
    ) -> Draw:
        """Return closed experiences of all agents, drawn at random, as arrays to train on."""
        wanted: dict[str, Any] = {
            **filters,
            "size": size,
            "strategy": strategy,
            "seed": seed,
            "as_of": self._view.bounded(filters.get("as_of")),
        }
        return draw(self._caller, contract_fields(wanted), self._view)

    def stats(self, agent: str | None = None) -> dict[str, Any]:
        """Return what is stored: counts, algorithm and bytes per agent and index."""
        self._view.require_present("Counting")
        return self._caller.call(service.stats(agent))

    def whoami(self) -> Identity:
        """Return the role, the agents and the limits of the caller's key."""
        return self._caller.call(service.whoami())

    def agents(self) -> Iterator[AgentSummary]:
        """Go through the agents that the caller may see, with their counts and latest time."""
        self._view.require_present("Counting")
        cursor: str | None = None
        while True:
            page = self._caller.call(service.agents(cursor, _PAGE))
            for agent in page.agents:
                yield agent
            cursor = page.next_cursor
            if cursor is None:
                return

    def uplifts(self) -> Iterator[UpliftFigures]:
        """Go through the agents with closed decisions: what the memory adds to each."""
        self._view.require_present("Comparing")
        cursor: str | None = None
        while True:
            page = self._caller.call(verdicts.uplifts(cursor, _PAGE))
            for agent in page.agents:
                yield agent
            cursor = page.next_cursor
            if cursor is None:
                return

    def is_ready(self, timeout_s: float = 2.0) -> bool:
        """Return whether every part of the service can do its work now."""
        try:
            self._caller.call(service.readiness(), timeout_s)
        except (ServiceProblem, ServiceUnreachable, CallTimedOut):
            return False
        return True
