"""Every key, prefix and index name in Redis.

The agent stands in braces (`{agent}`), which its name cannot hold, so no agent's prefix is the
beginning of another's. All keys of an agent, its partition key and its index live on one shard.

episodic:{AGENT}:ID            hash    one experience
episodic_partition:{AGENT}     hash    `seq`: how many memories were ever written; `memories` and
                                       `bytes` (records and vectors): what is there now
episodic_changes:{AGENT}       stream  what changed in an agent's memory: `put` or `delete` and the
                                       id of an experience, in turn; trimmed; expires when the
                                       agent is emptied
episodic_agents                set     the agents that have a partition
episodic_seq                   string  the highest `seq` of all partitions that were removed: a new
                                       one goes on from there
semantic:{semantic_memory_idx}:ID  hash  one concept; tagged with the index's name
semantic_partition:{semantic_memory_idx}  hash  as above, for the one semantic partition
semantic_history:{semantic_memory_idx}:SEQ:NUMBER  hash  what the concept with this seq was, before
                                       its NUMBERth change; expires. The concept's `versions`
                                       is the last NUMBER, its `past_from` the first that is kept
semantic_history_kept:{semantic_memory_idx}  string  there when anything of that is kept

How often searches find a concept is counted beside it (app/storage/access_counters.py):
semantic_access:{semantic_memory_idx}:unfolded   hash    SEQ:ID -> hits not yet in the concept
semantic_access:{semantic_memory_idx}:last       hash    SEQ:ID -> unix seconds of the last of them
semantic_access:{semantic_memory_idx}:day:DAY    hash    SEQ -> hits on that day (UTC); expires
semantic_access:{semantic_memory_idx}:sent:PROCESS  string  number of its last batch; expires
turn:{NAME}                    string  who does a background job now; expires

{api_keys}:records             hash    key id -> what is kept of an API key (JSON)
{api_keys}:version             string  counts changes of it
"""

EPISODIC_PREFIX = "episodic:"
EPISODIC_INDEX = "episodic_memory_idx"
SEMANTIC_PREFIX = "semantic:"
SEMANTIC_INDEX = "semantic_memory_idx"
SEMANTIC_HISTORY = "semantic_history"
AGENTS = "episodic_agents"
LAST_SEQ = "episodic_seq"
API_KEYS = "{api_keys}:records"
API_KEYS_VERSION = "{api_keys}:version"


def episodic_prefix(agent_id: str) -> str:
    """The beginning of the keys of all memories of one agent."""
    return f"{EPISODIC_PREFIX}{{{agent_id}}}:"


def episodic_memory(agent_id: str, memory_id: str) -> str:
    """The key of one experience."""
    return f"{episodic_prefix(agent_id)}{memory_id}"


def episodic_partition(agent_id: str) -> str:
    """The key of what the service knows about one agent's partition."""
    return f"episodic_partition:{{{agent_id}}}"


def episodic_changes(agent_id: str) -> str:
    """The key of the stream of one agent's changes."""
    return f"episodic_changes:{{{agent_id}}}"


def partition(owner: str) -> str:
    """Return the partition key of an agent; of the empty name, that of the swarm's concepts."""
    return episodic_partition(owner) if owner else semantic_partition()


def partition_owner(partition: str) -> str:
    """The agent whose partition key this is; empty for the swarm's concepts."""
    return partition.partition("{")[2][:-1] if partition.startswith("episodic_") else ""


def episodic_index(agent_id: str) -> str:
    """The alias of one agent's index in the per-agent layout."""
    return f"{EPISODIC_INDEX}:{{{agent_id}}}"


def index_owner(alias: str) -> str:
    """The agent whose index has this alias."""
    return alias.removeprefix(f"{EPISODIC_INDEX}:{{").removesuffix("}")


def semantic_memory(memory_id: str) -> str:
    """The key of one concept."""
    return f"{SEMANTIC_PREFIX}{{{SEMANTIC_INDEX}}}:{memory_id}"


def semantic_id(key: str) -> str:
    """The id of the concept under this key."""
    return key.removeprefix(semantic_memory(""))


def semantic_partition() -> str:
    """The key of what the service knows about the semantic partition."""
    return f"semantic_partition:{{{SEMANTIC_INDEX}}}"


def semantic_history() -> str:
    """The beginning of the keys of what concepts were before they were changed."""
    return f"{SEMANTIC_HISTORY}:{{{SEMANTIC_INDEX}}}:"


def semantic_history_kept() -> str:
    """The key that exists when anything of that is kept."""
    return f"{SEMANTIC_HISTORY}_kept:{{{SEMANTIC_INDEX}}}"


def semantic_history_index() -> str:
    """The alias of its index."""
    return f"{SEMANTIC_HISTORY}_idx:{{{SEMANTIC_INDEX}}}"


_ACCESS_PREFIX = f"semantic_access:{{{SEMANTIC_INDEX}}}:"
ACCESS_UNFOLDED = f"{_ACCESS_PREFIX}unfolded"
ACCESS_LAST = f"{_ACCESS_PREFIX}last"


def access_day(day: int) -> str:
    """The key of one day's hits; `day` is whole days since 1970 (UTC)."""
    return f"{_ACCESS_PREFIX}day:{day}"


def access_sent(process: str) -> str:
    """The key of what one service process has sent."""
    return f"{_ACCESS_PREFIX}sent:{process}"


def job_lock(job: str) -> str:
    """The key of whose turn a background job is."""
    return f"turn:{{{job}}}"
