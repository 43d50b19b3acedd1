"""Stores episodes over HTTP: every agent sends its own batches, a bounded number at a time.

Ids are fixed, so sending a batch again is harmless: what arrived before is answered `unchanged`. So
a lost connection, a busy service and an interrupted run need only a repeat.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import httpx
import orjson

from demo.episodes import Episode
from demo.service import is_retryable, problem_detail

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 5.0


class LoadError(Exception):
    """The service cannot be filled; the message is one sentence that says why."""


@dataclass(slots=True)
class LoadReport:
    """The result of a load: counts, and `seconds` from the first batch to the last."""

    created: int = 0
    unchanged: int = 0
    failed: int = 0
    seconds: float = 0.0
    problems: Counter[str] = field(default_factory=Counter)
    """How often each problem's code was given."""
    examples: dict[str, str] = field(default_factory=dict)
    """For each code the first sentence that came with it."""

    @property
    def confirmed(self) -> int:
        """Episodes that are in the service now: stored by this run or before it."""
        return self.created + self.unchanged

    @property
    def rate(self) -> float:
        """Confirmed episodes per second."""
        return self.confirmed / self.seconds if self.seconds else 0.0


class Loader:
    """Sends batches with at most `in_flight` requests in progress.

    `client` has the service's address as its base. `attempts` is how often a batch is sent before
    the load gives up. `on_progress` gets how many episodes a finished batch held. Once `stop` is
    set, no batch is begun; those in progress are finished.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        in_flight: int,
        attempts: int,
        stop: asyncio.Event,
        on_progress: Callable[[int], object],
    ) -> None:
        self._client = client
        self._places = asyncio.Semaphore(in_flight)
        self._attempts = attempts
        self._stop = stop
        self._on_progress = on_progress
        self._fault: LoadError | None = None
        self.report = LoadReport()

    async def run(self, agents: Iterable[Iterator[list[Episode]]]) -> LoadReport:
        """Store every agent's batches, in order for each agent. Raises LoadError."""
        started = time.perf_counter()
        try:
            async with asyncio.TaskGroup() as group:
                for batches in agents:
                    group.create_task(self._agent(batches))
        finally:
            self.report.seconds = time.perf_counter() - started
        if self._fault is not None:
            raise self._fault
        return self.report

    async def _agent(self, batches: Iterator[list[Episode]]) -> None:
        while True:
            async with self._places:
                if self._stop.is_set():
                    return
                batch = next(batches, None)
                if batch is None:
                    return
                try:
                    await self._store(batch)
                except LoadError as fault:
                    self._fault = self._fault or fault
                    self._stop.set()

    async def _store(self, batch: list[Episode]) -> None:
        """Send a batch, and resend what may be sent again, until each episode has its answer."""
        pending, reason = batch, ""
        for attempt in range(self._attempts):
            if attempt and not await self._pause(attempt):
                return
            try:
                response = await self._client.post(
                    "/v1/episodic/batch",
                    content=orjson.dumps({"memories": pending}),
                    headers={"Content-Type": "application/json"},
                )
            except httpx.TransportError as error:
                reason = f"no answer ({type(error).__name__})"
                continue
            if response.is_success:
                pending, reason = self._count(pending, response.json()["results"])
                if not pending:
                    return
                continue
            reason = problem_detail(response).rstrip(".")
            if not is_retryable(response):
                raise LoadError(f"The service refuses the episodes: {reason}.")
        raise LoadError(
            f"The service took no batch in {self._attempts} attempts: {reason}. "
            "Run it again to continue."
        )

    def _count(
        self, batch: list[Episode], results: list[dict[str, object]]
    ) -> tuple[list[Episode], str]:
        """Count each episode's answer. Return those to send again, and the last reason."""
        again: list[Episode] = []
        reason = ""
        for sent, result in zip(batch, results, strict=True):
            match result:
                case {"status": "created"}:
                    self.report.created += 1
                case {"status": "unchanged"}:
                    self.report.unchanged += 1
                case {"error": {"retryable": True, "detail": str(reason)}}:
                    again.append(sent)
                case {"error": {"code": str(code), "detail": str(detail)}}:
                    self.report.failed += 1
                    self.report.problems[code] += 1
                    self.report.examples.setdefault(code, detail)
                case _:
                    raise LoadError(f"The service gave an answer unknown here: {result}")
        self._on_progress(len(batch) - len(again))
        return again, reason

    async def _pause(self, attempt: int) -> bool:
        """Wait before attempt number `attempt`. Return False if the load must stop meanwhile."""
        longest = min(_FIRST_PAUSE_S * 2 ** (attempt - 1), _LONGEST_PAUSE_S)
        try:
            await asyncio.wait_for(self._stop.wait(), longest * random.uniform(0.5, 1.0))
        except TimeoutError:
            return True
        return False
