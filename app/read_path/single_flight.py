"""Lets identical concurrent questions share one call.

The first caller makes the call itself, and nothing is allocated until another caller joins, because
most questions are asked once. If the first caller leaves, one of those who joined asks again, so
leaving cancels only one's own request. The entry is removed before the answer is handed out, so
nobody joins a finished call. An error reaches all who joined and is not kept. A question asked
after a write never joins one asked before it, because the version is part of the key. `strong`
joins nothing.
"""

import asyncio

from app.context import remaining_s
from app.errors import DeadlineExceeded
from app.metrics import DEDUPLICATED
from app.model import Answer, Question
from app.read_path.stage import Recall
from app.read_path.versions import PartitionVersions


class SingleFlightRecall:
    """Makes one call for each distinct question in flight."""

    def __init__(self, following: Recall, versions: PartitionVersions) -> None:
        self._following = following
        self._versions = versions
        self._flights: dict[tuple[Question, int], _Flight] = {}

    async def recall(self, question: Question) -> Answer:
        """Return the answer of this question's call, started or joined."""
        if question.consistency == "strong" or question.trace is not None:
            return await self._following.recall(question)
        while True:
            key = (question, self._versions.version(question))
            own = _Flight()
            flight = self._flights.setdefault(key, own)
            if flight is own:
                return await self._fly(key, own)
            DEDUPLICATED.inc()
            try:
                answer = await flight.joined()
            except DeadlineExceeded:
                # The caller who started the call had less time than this one.
                left_s = remaining_s()
                if left_s is None or left_s > 0:
                    return await self._following.recall(question)
                raise
            if answer is not None:
                return answer

    async def _fly(self, key: tuple[Question, int], flight: "_Flight") -> Answer:
        try:
            answer = await self._following.recall(key[0])
        except BaseException as error:
            del self._flights[key]
            flight.fail(error)
            raise
        del self._flights[key]
        flight.land(answer)
        return answer


class _Flight:
    """A call in progress, and those who joined it."""

    __slots__ = ("_joined",)

    def __init__(self) -> None:
        self._joined: list[asyncio.Future[Answer | None]] = []

    async def joined(self) -> Answer | None:
        """Wait for the call's answer. None if its caller has left. Raise the call's error."""
        future: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._joined.append(future)
        return await future

    def land(self, answer: Answer | None) -> None:
        """Hand the answer to all who joined."""
        for future in self._joined:
            if not future.done():  # its caller has left
                future.set_result(answer)

    def fail(self, error: BaseException) -> None:
        """Hand the error to all who joined. A cancellation concerns its own caller alone."""
        if not isinstance(error, Exception):
            self.land(None)
            return
        for future in self._joined:
            if not future.done():
                future.set_exception(error)
