"""Every key, prefix and index name in Redis.

The agent is the Redis hash tag (`{agent}`), so that in a cluster an agent's memories, its
partition key and its index, which is routed like a key, live on one shard. Agent names hold no
braces, so no agent's prefix is the beginning of another's.

episodic:{AGENT}:ID            hash    one experience
episodic_partition:{AGENT}     hash    `seq`: how many memories were ever written
episodic_agents                set     the agents that have a partition
semantic:{semantic_memory_idx}:ID  hash  one concept; tagged with the index's name: the same slot
semantic_partition:{semantic_memory_idx}  hash  as above, for the one semantic partition
"""

EPISODIC_PREFIX = "episodic:"
EPISODIC_INDEX = "episodic_memory_idx"
SEMANTIC_PREFIX = "semantic:"
SEMANTIC_INDEX = "semantic_memory_idx"
AGENTS = "episodic_agents"


def episodic_prefix(agent_id: str) -> str:
    """The beginning of the keys of all memories of one agent."""
    return f"{EPISODIC_PREFIX}{{{agent_id}}}:"


def episodic_memory(agent_id: str, memory_id: str) -> str:
    """The key of one experience."""
    return f"{episodic_prefix(agent_id)}{memory_id}"


def episodic_partition(agent_id: str) -> str:
    """The key of what the service knows about one agent's partition."""
    return f"episodic_partition:{{{agent_id}}}"


def partition_owner(partition: str) -> str:
    """The agent whose partition key this is; empty for the swarm's concepts."""
    return partition.partition("{")[2][:-1] if partition.startswith("episodic_") else ""


def episodic_index(agent_id: str) -> str:
    """The alias of one agent's index in the per-agent layout."""
    return f"{EPISODIC_INDEX}:{{{agent_id}}}"


def semantic_memory(memory_id: str) -> str:
    """The key of one concept."""
    return f"{SEMANTIC_PREFIX}{{{SEMANTIC_INDEX}}}:{memory_id}"


def semantic_partition() -> str:
    """The key of what the service knows about the semantic partition."""
    return f"semantic_partition:{{{SEMANTIC_INDEX}}}"
