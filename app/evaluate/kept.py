"""Evaluations in Redis, so that each process of the service can tell of them.

A running one is written again and again; if its process dies, it soon expires. One that is deleted
is not written again, which is how its process learns that it was cancelled.
"""

from typing import Any

from app import keys
from app.contract.evaluation import Evaluation
from app.nodes.client import execute
from app.nodes.redis_errors import translated
from app.nodes.shard import Shards

RUNNING_S = 30
FINISHED_S = 7 * 86_400
WANTED_S = 120
"""After this time without a question for it, nobody waits."""


class KeptEvaluations:
    """Stores and finds evaluations by id."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def create(self, evaluation: Evaluation) -> None:
        """Store a new evaluation, which is wanted for a while. Raise StorageError."""
        await self._write(evaluation, RUNNING_S)
        await self._want(evaluation.id)

    async def update(self, evaluation: Evaluation) -> bool:
        """Store how far it is. Return False if it was deleted. Raise StorageError."""
        kept_s = RUNNING_S if evaluation.status in {"waiting", "running"} else FINISHED_S
        return await self._write(evaluation, kept_s, "XX")

    async def is_wanted(self, name: str) -> bool:
        """Return whether somebody asked for it lately. Raise StorageError."""
        return bool(await self._ask(name, "EXISTS", keys.evaluation_wanted(name)))

    async def find(self, name: str) -> Evaluation | None:
        """Return an evaluation, or None if there is none. Raise StorageError."""
        found = await self._ask(name, "GET", keys.evaluation(name))
        return None if found is None else Evaluation.model_validate_json(found)

    async def want(self, evaluation: Evaluation) -> None:
        """Note that somebody waits for it, if it is not finished. Raise StorageError."""
        if evaluation.status in {"waiting", "running"}:
            await self._want(evaluation.id)

    async def delete(self, name: str) -> None:
        """Forget it, and have it cancelled if it runs. Raise StorageError."""
        await self._ask(name, "DEL", keys.evaluation(name), keys.evaluation_wanted(name))

    async def _want(self, name: str) -> None:
        await self._ask(name, "SET", keys.evaluation_wanted(name), 1, "EX", WANTED_S)

    async def _write(self, evaluation: Evaluation, kept_s: int, *condition: str) -> bool:
        name, text = evaluation.id, evaluation.model_dump_json()
        words = (keys.evaluation(name), text, "EX", kept_s)
        return await self._ask(name, "SET", *words, *condition) is not None

    async def _ask(self, name: str, *words: str | int) -> Any:
        with translated():
            shard = self._shards.shard_of(keys.evaluation(name))
            return await execute(shard.master.client, *words)
