"""Carries out operations: retries, time limits, tokens, logging."""

import logging
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from coinswarm_memory._async.wire import AsyncWire, sleep
from coinswarm_memory.connection import new_request_id
from coinswarm_memory.errors import CoinswarmError
from coinswarm_memory.operations import service
from coinswarm_memory.operations.problem import error_of
from coinswarm_memory.operations.request import Operation, Reply
from coinswarm_memory.problems import (
    EvaluationUnknown,
    MemoryNotFound,
    MetricNotFound,
    TokenUnknown,
)
from coinswarm_memory.retry import Attempts
from coinswarm_memory.tokens import Tokens

T = TypeVar("T")
logger = logging.getLogger("coinswarm_memory")

GONE = (MemoryNotFound, MetricNotFound, EvaluationUnknown)
"""What a deletion gets that was carried out before."""


class Follower(Protocol):
    """A replica that must contain this client's own writes."""

    async def catch_up(self) -> None:
        """Apply everything that was confirmed before this call."""


class AsyncCaller:
    """What all parts of one client share. `timeout_s` is a call's time, retries included."""

    def __init__(self, wire: AsyncWire, *, timeout_s: float, dimension: int | None) -> None:
        self._wire = wire
        self._timeout_s = timeout_s
        self._dimension = dimension
        self.tokens = Tokens()
        self._followers: dict[str, list[Follower]] = {}

    @property
    def timeout_s(self) -> float:
        """The time limit of calls that are given none."""
        return self._timeout_s

    async def wrote(self, owner: str, token: str | None) -> None:
        """Record a confirmed write of this client, and bring its replicas up to it."""
        self.tokens.note(owner, token)
        for follower in self._followers.get(owner, ()):
            await follower.catch_up()

    def follow(self, owner: str, follower: Follower) -> None:
        """Have a replica catch up with each write of this client."""
        self._followers[owner] = [*self._followers.get(owner, ()), follower]

    def unfollow(self, owner: str, follower: Follower) -> None:
        """Stop reporting writes to a replica."""
        self._followers[owner] = [f for f in self._followers[owner] if f is not follower]

    async def call(self, operation: Operation[T], timeout_s: float | None = None) -> T:
        """Carry out an operation and return its answer; repeat it if that can help.

        Raises the error of the service's problem, ServiceUnreachable, CallTimedOut,
        UnexpectedReply.
        """
        time_s = self._timeout_s if timeout_s is None else timeout_s
        attempts = Attempts(time.monotonic, time.monotonic() + time_s)
        request_id = new_request_id()
        while True:
            try:
                reply = await self._attempt(operation, request_id, attempts)
            except CoinswarmError as error:
                if operation.gone_is_done and attempts.failed and isinstance(error, GONE):
                    return operation.parse(Reply(204, {}, b""))
                pause_s = attempts.pause_s(error, repeatable=operation.repeatable)
                if pause_s is None:
                    raise
                logger.info(
                    "%s %s failed (%s), trying again in %.2f s, request %s",
                    operation.request.method,
                    operation.request.path,
                    error,
                    pause_s,
                    request_id,
                )
                await sleep(pause_s)
            else:
                return operation.parse(reply)

    async def ask(
        self,
        owner: str,
        consistency: str | None,
        make: Callable[[str | None], Operation[T]],
        timeout_s: float | None = None,
    ) -> T:
        """Ask a question that sees this client's own latest write; `make` gets the consistency.

        A token whose history has ended with a failover is dropped and the master is asked.
        """
        token = self.tokens.of(owner)
        if consistency is not None or token is None:
            return await self.call(make(consistency), timeout_s)
        try:
            return await self.call(make(token), timeout_s)
        except TokenUnknown:
            self.tokens.forget(owner, token)
            return await self.call(make("strong"), timeout_s)

    async def dimension(self) -> int | None:
        """Return how many numbers a vector has, asked of the service once."""
        if self._dimension is None:
            self._dimension = await self.call(service.dimension())
        return self._dimension

    async def close(self) -> None:
        """Close all connections."""
        await self._wire.close()

    async def _attempt(self, operation: Operation[T], request_id: str, attempts: Attempts) -> Reply:
        request = operation.request
        started = time.perf_counter()
        reply = await self._wire.send(request, request_id, max(attempts.remaining_s(), 0.001))
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(
                "%s %s: %d in %.1f ms, request %s",
                request.method,
                request.path,
                reply.status,
                (time.perf_counter() - started) * 1000,
                request_id,
            )
        if not (reply.is_success or reply.status in operation.answered_by):
            raise error_of(reply)
        return reply
