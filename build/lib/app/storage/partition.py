"""What belongs to one agent, or to the semantic memory, in either layout of the indexes."""

from dataclasses import dataclass

from app.filters import EpisodicFilter
from app.storage import keys
from app.storage.filter_syntax import conjunction, episodic_conditions
from app.storage.index import Indexes
from app.storage.schema import IndexSchema

_NO_FILTER = EpisodicFilter()


@dataclass(frozen=True, slots=True)
class Partition:
    """One agent's memories; `agent_id` None: the swarm's concepts.

    `counter` is the hash whose field `seq` counts the memories ever written here, `conditions` find
    this partition's memories in the index of `schema`.
    """

    agent_id: str | None
    schema: IndexSchema
    prefix: str
    counter: str
    conditions: tuple[str, ...]

    def query(self, *conditions: str) -> str:
        """Query text for this partition's memories that also meet these conditions."""
        return conjunction((*self.conditions, *conditions))


def partition_of(indexes: Indexes, agent_id: str | None) -> Partition:
    """The partition of an agent; None: of the semantic memory."""
    if agent_id is None:
        prefix = keys.semantic_memory("")
        return Partition(None, indexes.semantic(), prefix, keys.semantic_partition(), ())
    is_shared = indexes.layout == "shared"
    return Partition(
        agent_id=agent_id,
        schema=indexes.episodic(agent_id),
        prefix=keys.episodic_prefix(agent_id),
        counter=keys.episodic_partition(agent_id),
        conditions=episodic_conditions(_NO_FILTER, only_agent=agent_id if is_shared else None),
    )
