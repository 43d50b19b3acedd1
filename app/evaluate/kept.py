"""Evaluations in Redis, so that every process of the service can report them.

A running evaluation is rewritten again and again; if its process dies, it soon expires. A deleted
one cannot be rewritten, so its process learns that it was cancelled.
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
"""How long after the last poll an evaluation still counts as wanted."""


class KeptEvaluations:
    """Stores and finds evaluations by id."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def create(self, evaluation: Evaluation) -> None:
        """Store a new evaluation and mark it as wanted. Raise StorageError."""
        await self._write(evaluation, RUNNING_S)
        await self._want(evaluation.id)

    async def update(self, evaluation: Evaluation) -> bool:
        """Store its progress. Return False if it was deleted. Raise StorageError."""
        kept_s = RUNNING_S if evaluation.status in {"waiting", "running"} else FINISHED_S
        return await self._write(evaluation, kept_s, "XX")

    async def is_wanted(self, name: str) -> bool:
        """Return whether somebody asked for it recently. Raise StorageError."""
        return bool(await self._ask(name, "EXISTS", keys.evaluation_wanted(name)))

    async def find(self, name: str) -> Evaluation | None:
        """Return an evaluation, or None if it does not exist. Raise StorageError."""
        found = await self._ask(name, "GET", keys.evaluation(name))
        return None if found is None else Evaluation.model_validate_json(found)

    async def want(self, evaluation: Evaluation) -> None:
        """Mark it as wanted, unless it is finished. Raise StorageError."""
        if evaluation.status in {"waiting", "running"}:
            await self._want(evaluation.id)

    async def delete(self, name: str) -> None:
        """Delete it, which cancels it if it is running. Raise StorageError."""
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
