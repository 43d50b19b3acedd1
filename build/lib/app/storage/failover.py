"""What a failover cost: how much of the old master's history the new one does not have.

A promoted replica keeps the old history's id and how far it had followed it. Of the old master
this process knows how far it was when last seen as one, and its own confirmed writes. So the
figures are at least those: what other clients wrote in the last moments is not known here.
"""

import asyncio
import logging
import time
from dataclasses import dataclass

import redis.exceptions as foreign

from app.metrics import FAILOVER_LOST_WRITES, FAILOVERS
from app.storage.redis_node import RedisNode

logger = logging.getLogger(__name__)

ASK_TIMEOUT_S = 10.0
PAUSE_S = 0.1
SHOWN_KEYS = 100


@dataclass(frozen=True, slots=True)
class Failover:
    """One change of the master. `at` is unix seconds.

    `lost_bytes`: of the replication stream, at least; None: the new master is of a history that
    the old one was not seen to have, or did not tell. `lost_writes`: keys of confirmed writes of
    this process that it does not have.
    """

    at: float
    old_master: str
    new_master: str
    lost_bytes: int | None
    lost_writes: int

    def as_json(self) -> dict[str, object]:
        """As readiness shows it."""
        return {
            "at": self.at,
            "from": self.old_master,
            "to": self.new_master,
            "lost_bytes": self.lost_bytes,
            "lost_writes": self.lost_writes,
        }


async def assess(old: RedisNode, new: RedisNode) -> Failover:
    """Compare the two histories, log what is lost and count it."""
    at = time.time()
    FAILOVERS.inc()
    kept = await _kept_of_old(new)
    discarded = None if kept is None else old.journal.beyond(*kept)
    if discarded is None:
        logger.warning(
            "another master: what the old one had alone is not known",
            extra={"old_master": old.name, "new_master": new.name},
        )
        return Failover(at, old.name, new.name, None, 0)
    FAILOVER_LOST_WRITES.inc(len(discarded.keys))
    logger.log(
        logging.ERROR if discarded.keys else logging.WARNING,
        "another master: %d confirmed writes of this process are not in it",
        len(discarded.keys),
        extra={
            "old_master": old.name,
            "new_master": new.name,
            "lost_bytes": discarded.offset_bytes,
            "lost_keys": discarded.keys[:SHOWN_KEYS],
            "all_are_known": discarded.is_whole,
        },
    )
    return Failover(at, old.name, new.name, discarded.offset_bytes, len(discarded.keys))


async def _kept_of_old(new: RedisNode) -> tuple[str, int] | None:
    """The history before the promotion, and the offset until which the new master has it."""
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            while True:
                try:
                    info = await new.probe.info("replication")
                    if info["role"] == "master":
                        return str(info["master_replid2"]), int(info["second_repl_offset"]) - 1
                except (foreign.RedisError, OSError) as error:
                    logger.debug("new master is asked again", extra={"cause": repr(error)})
                await asyncio.sleep(PAUSE_S)
    except TimeoutError:
        return None
