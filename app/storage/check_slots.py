"""Has every slot of the cluster a master, and is none on its way?"""

from app.storage.cluster import ClusterShards
from app.storage.cluster_map import SLOTS
from app.storage.finding import Finding
from app.storage.shard import Shards

PART = "slots"
NAMED = 5


def check_slots(shards: Shards) -> list[Finding]:
    """One finding for each thing that is wrong, or one for all; none where there is no cluster."""
    if not isinstance(shards, ClusterShards):
        return []
    problems = []
    if shards.moving:
        first = sorted(shards.moving)[:NAMED]
        more = ", ..." if len(shards.moving) > NAMED else ""
        named = ", ".join(map(str, first)) + more
        problems.append(
            f"On their way between two nodes: {named}. What is in them is refused until they have "
            "arrived: end the move, by redis-cli --cluster fix if nothing is moving them."
        )
    if shards.unserved:
        problems.append(
            f"{shards.unserved:,} of {SLOTS:,} slots have no master: see which node is missing."
        )
    whole = f"all {SLOTS:,} have a master, none is on its way"
    return [Finding("problem", PART, text) for text in problems] or [Finding("ok", PART, whole)]
