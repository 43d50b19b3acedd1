"""Every key, prefix and index name in Redis.

The agent's name is in braces (`{agent}`). Names contain no braces, so no agent's prefix is the
beginning of another's. All keys of an agent, its partition key and its index live on one shard.

episodic:{AGENT}:ID            hash    one experience
episodic_partition:{AGENT}     hash    `seq`: how many memories were ever written; `memories` and
                                       `bytes` (records and vectors): what is stored now
episodic_changes:{AGENT}       stream  the changes of an agent's memory: `put` or `delete`, and the
                                       ids of experiences, one a line; `by`: `outcome` or
                                       `rating` for a change of one that was there; trimmed;
                                       expires once the agent has no memories
episodic_distances:{AGENT}     hash    id -> a distance learned from this agent's memories (JSON);
                                       goes with the agent
episodic_promotions            list    which distance stood from when on (JSON), the latest last
episodic_agents                set     the agents that have a partition
episodic_retired:{AGENT}:SEQ   hash    an experience that left the memory: only questions as of an
                                       earlier moment find it. The partition's `retired` and
                                       `retired_bytes` count these, `retired_until` is the latest
                                       `retired_at` (unix seconds) that one of them ever had
episodic_retirements           hash    `newest`: the latest `retired_at` on this shard; `purged`,
                                       and `purged:AGENT` of one agent: that of what was purged
episodic_seq                   string  the highest `seq` of all removed partitions; a new partition
                                       continues from it
semantic:{semantic_memory_idx}:ID  hash  one concept, tagged with the index's name
semantic_partition:{semantic_memory_idx}  hash  the same as above, for the one semantic partition
semantic_history:{semantic_memory_idx}:SEQ:NUMBER  hash  the concept with this seq before its
                                       NUMBERth change; expires. The concept's `versions` is the
                                       last NUMBER, its `past_from` the first one kept
semantic_history_kept:{semantic_memory_idx}  string  exists while any revision is kept
semantic_retired:{semantic_memory_idx}:ID  set  the seqs that retired concepts of this id had;
                                       expires with their revisions

Searches that find a concept are counted beside it (app/storage/access_counters.py):

semantic_access:{semantic_memory_idx}:unfolded   hash    SEQ:ID -> hits not yet in the concept
semantic_access:{semantic_memory_idx}:last       hash    SEQ:ID -> unix seconds of the last of them
semantic_access:{semantic_memory_idx}:day:DAY    hash    SEQ -> hits on that day (UTC); expires
semantic_access:{semantic_memory_idx}:sent:PROCESS  string  number of its last batch; expires

episodic_decisions:{AGENT}     hash    UNIT -> an open decision, or one just closed (JSON); each
                                       field expires
episodic_uplift:{AGENT}        hash    what came of them: `all`, `product:NAME` and `regime:NAME`
                                       -> sums; `products` and `regimes`: how many names; expires

episodic_evaluation:{ID}       string  an evaluation (JSON); expires
episodic_evaluation_wanted:{ID}  string  exists while somebody waits for it; expires
episodic_fit:{ID}, episodic_fit_wanted:{ID}  string  the same of a distance that is being learned

With several groups (app/nodes/groups), each has the first of these, and its home the others:

episodic_group                 hash    the group's mark: `memory`, `name`, `home`, `generation`
episodic_groups                hash    `generation`; `weight:NAME` and `joined:NAME` of each group
episodic_placements            hash    agent -> name of the group that holds its memory

episodic_moves                 hash    agent -> its latest move between groups (JSON)
episodic_moves_made            string  counts the moves and changes of the list

episodic_moving                hash    in each group: agent -> what holds its writes back here
                                       (app/storage/lua/require_here.lua). What a move carries, and
                                       what it builds again: docs/reference/groups.md

turn:{NAME}                    string  the job lock: which process runs a background job; expires

{api_keys}:records             hash    key id -> the record of an API key (JSON)
{api_keys}:version             string  counts the changes of these records
"""

EPISODIC_PREFIX = "episodic:"
EPISODIC_INDEX = "episodic_memory_idx"
SEMANTIC_PREFIX = "semantic:"
SEMANTIC_INDEX = "semantic_memory_idx"
SEMANTIC_PARTITION = f"semantic_partition:{{{SEMANTIC_INDEX}}}"
SEMANTIC_HISTORY = f"semantic_history:{{{SEMANTIC_INDEX}}}:"
SEMANTIC_HISTORY_KEPT = f"semantic_history_kept:{{{SEMANTIC_INDEX}}}"
SEMANTIC_HISTORY_INDEX = f"semantic_history_idx:{{{SEMANTIC_INDEX}}}"
AGENTS = "episodic_agents"
RETIRED_PREFIX = "episodic_retired:"
RETIRED_INDEX = "episodic_retired_idx"
RETIREMENTS = "episodic_retirements"
PROMOTIONS = "episodic_promotions"
LAST_SEQ = "episodic_seq"
GROUP = "episodic_group"
GROUPS = "episodic_groups"
PLACEMENTS = "episodic_placements"
MOVES = "episodic_moves"
MOVES_MADE = "episodic_moves_made"
MOVING = "episodic_moving"
API_KEYS = "{api_keys}:records"
API_KEYS_VERSION = "{api_keys}:version"


def episodic_prefix(agent_id: str) -> str:
    """Return the common prefix of one agent's memory keys."""
    return f"{EPISODIC_PREFIX}{{{agent_id}}}:"


def episodic_memory(agent_id: str, memory_id: str) -> str:
    """Return the key of one experience."""
    return f"{episodic_prefix(agent_id)}{memory_id}"


def memory_owner(key: str) -> str:
    """Return the agent whose memory, present or retired, has this key."""
    return key[key.index("{") + 1 : key.index("}")]


def retired_memory(agent_id: str, seq: int) -> str:
    """Return the key of a retired experience by the number that it got when it was stored."""
    return f"{RETIRED_PREFIX}{{{agent_id}}}:{seq}"


def episodic_partition(agent_id: str) -> str:
    """Return the key of one agent's partition."""
    return f"episodic_partition:{{{agent_id}}}"


def episodic_changes(agent_id: str) -> str:
    """Return the key of the stream of one agent's changes."""
    return f"episodic_changes:{{{agent_id}}}"


def episodic_distances(agent_id: str) -> str:
    """Return the key of the distances that were learned from one agent's memories."""
    return f"episodic_distances:{{{agent_id}}}"


_OF_AGENTS = (
    *("episodic:{", "episodic_partition:{", "episodic_changes:{", f"{EPISODIC_INDEX}:{{"),
    *("episodic_decisions:{", "episodic_uplift:{", "episodic_distances:{"),
)


def agent_of(key: str) -> str | None:
    """Return the agent that this key or index belongs to. None if it belongs to no agent."""
    return key[key.index("{") + 1 : key.index("}")] if key.startswith(_OF_AGENTS) else None


def partition(owner: str) -> str:
    """Return the partition key of an agent, or that of the swarm's concepts for the empty name."""
    return episodic_partition(owner) if owner else SEMANTIC_PARTITION


def partition_owner(partition: str) -> str:
    """Return the agent of a partition key, or the empty name for the swarm's concepts."""
    return partition.partition("{")[2][:-1] if partition.startswith("episodic_") else ""


def episodic_index(agent_id: str) -> str:
    """Return the alias of one agent's index in the per-agent layout."""
    return f"{EPISODIC_INDEX}:{{{agent_id}}}"


def index_owner(alias: str) -> str:
    """Return the agent whose index has this alias."""
    return alias.removeprefix(f"{EPISODIC_INDEX}:{{").removesuffix("}")


def semantic_memory(memory_id: str) -> str:
    """Return the key of one concept."""
    return f"{SEMANTIC_PREFIX}{{{SEMANTIC_INDEX}}}:{memory_id}"


def semantic_id(key: str) -> str:
    """Return the id of the concept with this key."""
    return key.removeprefix(semantic_memory(""))


def semantic_retired(memory_id: str) -> str:
    """Return the key of the seqs that retired concepts of this id had."""
    return f"semantic_retired:{{{SEMANTIC_INDEX}}}:{memory_id}"


_ACCESS_PREFIX = f"semantic_access:{{{SEMANTIC_INDEX}}}:"
ACCESS_UNFOLDED = f"{_ACCESS_PREFIX}unfolded"
ACCESS_LAST = f"{_ACCESS_PREFIX}last"


def access_day(day: int) -> str:
    """Return the key of one day's hits; `day` counts whole days since 1970 (UTC)."""
    return f"{_ACCESS_PREFIX}day:{day}"


def access_sent(process: str) -> str:
    """Return the key that records which batches one service process has sent."""
    return f"{_ACCESS_PREFIX}sent:{process}"


def job_lock(job: str) -> str:
    """Return the key of a background job's lock."""
    return f"turn:{{{job}}}"


def decisions(agent_id: str) -> str:
    """Return the key of one agent's open decisions."""
    return f"episodic_decisions:{{{agent_id}}}"


def uplift(agent_id: str) -> str:
    """Return the key of what came of one agent's decisions."""
    return f"episodic_uplift:{{{agent_id}}}"


def asked_job(kind: str, name: str) -> str:
    """Return the key of a job that somebody asked for: an `evaluation` or a `fit`."""
    return f"episodic_{kind}:{{{name}}}"


def asked_job_wanted(kind: str, name: str) -> str:
    """Return the key that exists while somebody waits for such a job."""
    return f"episodic_{kind}_wanted:{{{name}}}"
