"""How full the Redis of each group is: new agents and moves go to groups with room."""

import asyncio
from collections.abc import Collection, Iterable, Mapping

from app.errors import StorageError
from app.nodes.redis_errors import translated
from app.nodes.shard import Shard

NEARLY_FULL = 0.9
"""Part of its memory limit beyond which a group gets no more agents."""

ANSWER_WITHIN_S = 0.5


async def used_shares(groups: Iterable[Shard]) -> dict[str, float]:
    """Return which part of its memory limit each group's master uses, 0 without a limit.

    Groups that do not answer now are left out.
    """
    asked = [shard for shard in groups if _is_there(shard)]
    shares = await asyncio.gather(*map(_used_share, asked))
    return {
        shard.name: share for shard, share in zip(asked, shares, strict=True) if share is not None
    }


def _is_there(shard: Shard) -> bool:
    return shard.has_master and shard.master.status.is_up and not shard.master.missed_looks


async def _used_share(shard: Shard) -> float | None:
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            with translated():
                info = await shard.master.probe.info("memory")
    except (StorageError, TimeoutError):
        return None
    limit = int(info["maxmemory"])
    return int(info["used_memory"]) / limit if limit else 0.0


def nearly_full(used: Mapping[str, float]) -> frozenset[str]:
    """Return the groups that get no more agents, of those whose used shares these are."""
    return frozenset(name for name, share in used.items() if share >= NEARLY_FULL)


def with_room(weights: Mapping[str, float], full: Collection[str]) -> dict[str, float]:
    """Return the weights of the groups that are not full."""
    return {name: weight for name, weight in weights.items() if name not in full}


def roomiest(weights: Mapping[str, float], used: Mapping[str, float]) -> Mapping[str, float]:
    """Return the weights of the groups that are not nearly full, of all that are known.

    If all of them are, return that of the group with the most room left.
    """
    full = nearly_full(used)
    if not full.issuperset(weights):
        return with_room(weights, full)
    emptiest = min(weights, key=lambda name: (used[name], name))
    return {emptiest: weights[emptiest]}
