"""Which learned distance a question means, and whether it may go by it."""

from collections import OrderedDict

import numpy as np
import orjson

from app.auth import caller
from app.errors import MetricFromTheFuture, MetricNotFound
from app.memory.distances.store import DistanceStore
from app.model import Metric

PROMOTED = "promoted"
"""Names the distance that the swarm goes by at the question's moment."""

PARSED_KEPT = 64


def owner_of(name: str) -> str:
    """Return the agent from whose memories a distance was learned."""
    return name.rpartition(":")[0]


class Metrics:
    """Finds the distance of each question in Redis: one that is taken back is gone at once."""

    def __init__(self, store: DistanceStore) -> None:
        self._store = store
        self._parsed: OrderedDict[bytes, tuple[Metric, float]] = OrderedDict()

    async def of(
        self, name: str | None, as_of: float | None, recorded_by: float | None = None
    ) -> Metric | None:
        """Return the distance of this name as of a moment. None: the cosine distance.

        Raise MetricNotFound, MetricFromTheFuture, StorageError.
        """
        if name is None:
            return None
        if name == PROMOTED:
            return await self._promoted(as_of, recorded_by)
        if not caller.caller.get().may_touch(owner_of(name)):
            raise _unknown(name)
        raw = await self._store.find(owner_of(name), name)
        if raw is None:
            raise _unknown(name)
        metric, created_at = self._parse(raw)
        if as_of is not None and as_of < metric.known_at:
            raise MetricFromTheFuture(
                f"metric: {name} was learned from what was known at {metric.known_at!r}: ask as of "
                "that moment or later, or without a metric.",
                field="metric",
            )
        if recorded_by is not None and recorded_by < created_at:
            raise MetricFromTheFuture(
                f"metric: {name} was recorded at {created_at!r}: ask with recorded_by from then "
                "on, or without a metric.",
                field="metric",
            )
        return metric

    async def _promoted(self, as_of: float | None, recorded_by: float | None) -> Metric | None:
        moments = [moment for moment in (as_of, recorded_by) if moment is not None]
        moment = min(moments, default=None)
        promotion = await self._store.promoted(moment)
        if promotion is None or promotion.agent_id is None or promotion.distance is None:
            return None
        raw = await self._store.find(promotion.agent_id, promotion.distance)
        if raw is None:
            await self._store.forget(promotion)
            return None
        metric, _ = self._parse(raw)
        return metric if moment is None or metric.known_at <= moment else None

    def _parse(self, raw: bytes) -> tuple[Metric, float]:
        found = self._parsed.get(raw)
        if found is None:
            record = orjson.loads(raw)
            weights = np.array(record["scaled_weights"], np.float64)
            metric = Metric(record["id"], record["known_at"], weights)
            found = self._parsed[raw] = metric, record["created_at"]
            while len(self._parsed) > PARSED_KEPT:
                self._parsed.popitem(last=False)
        return found


def _unknown(name: str) -> MetricNotFound:
    return MetricNotFound(
        f"metric: there is no distance {name} that this key may use: learn one, or name another.",
        field="metric",
    )
