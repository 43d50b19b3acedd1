"""Every setting with its default and what it does."""

from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.context import Durability

ENV_PREFIX = "MEMORY_"
ENV_FILE = ".env"

Layout = Literal["per_agent", "shared"]
VectorType = Literal["float32", "float16"]
EmbeddedTopologyName = Literal["single", "replicas", "sentinel", "groups"]


def _default_data_dir() -> Path:
    try:
        return Path(platformdirs.user_data_dir("coinswarm-memory"))
    except RuntimeError:  # a user without a home, as in containers
        return Path("coinswarm-memory-data")


def _split(urls: object) -> object:
    return (
        [url.strip() for url in urls.split(",") if url.strip()] if isinstance(urls, str) else urls
    )


def _is_redis_url(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must start with redis://, rediss:// or unix://")
    return url


RedisUrl = Annotated[SecretStr, AfterValidator(_is_redis_url)]


class Settings(BaseSettings):
    """The service's settings. Each field is read from the variable `MEMORY_<NAME>`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_file=ENV_FILE, env_ignore_empty=True, frozen=True, extra="ignore"
    )

    # HTTP
    host: str = Field("127.0.0.1", description="The address that the service listens on.")
    port: int = Field(
        8000, ge=0, le=65535, description="The port of the service; 0 takes any free one."
    )
    workers: int = Field(1, ge=1, le=256, description="How many service processes share the port.")
    max_body_bytes: int = Field(
        32 * 1024 * 1024, ge=1024, description="The largest request body; a larger one gets 413."
    )
    max_answer_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024 * 1024,
        description="The largest answer in bytes; a request whose answer would be larger gets 422.",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = Field(
        (),
        description="Host names, separated by commas, that requests may use besides this "
        "machine's own; `*` allows any. If unset, only a service on loopback without keys "
        "checks the Host header.",
    )
    mcp: Literal["off", "read", "write"] = Field(
        "read",
        description="What language models may do at /mcp, within the rights of their key. off: "
        "nothing. read: only read. write: read and write. Needs the extra `mcp`.",
    )
    max_connections: int = Field(
        1000, ge=1, description="How many connections one process keeps open; further ones get 503."
    )
    keep_alive_s: int = Field(
        300, ge=1, le=86_400, description="How long an idle connection stays open."
    )
    head_timeout_s: float = Field(
        10.0, gt=0, le=3600, description="How long to wait for a request's line and headers."
    )
    body_timeout_s: float = Field(
        30.0, gt=0, le=3600, description="How long to wait for a request's whole body."
    )
    write_timeout_s: float = Field(
        30.0, gt=0, le=3600, description="How long to wait for a caller to read its answer."
    )
    shutdown_timeout_s: int = Field(
        30, ge=1, le=3600, description="How long to wait for requests in progress at shutdown."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="The lowest level that is logged."
    )

    # Access, see docs/reference/security.md
    auth: Literal["auto", "off", "file", "redis"] = Field(
        "auto",
        description="Where the API keys are. auto: in MEMORY_API_KEYS_FILE if that is set, "
        "else in Redis; no key is required until the first one is created (`./memory keys "
        "create`).",
    )
    api_keys_file: Path | None = Field(
        None,
        description="The file with the hashed API keys. The service reads it again whenever it "
        "changes.",
    )
    api_keys_poll_s: float = Field(
        0.5,
        gt=0,
        le=60,
        description="How often the service checks whether keys have changed; a revoked key "
        "stops working by then.",
    )
    audit_file: Path | None = Field(
        None,
        description="The file that records deletions, retention, imports and key changes, with "
        "who did it and how many memories it affected. If unset, they go to the log.",
    )
    audit_fsync: bool = Field(
        True, description="Flush each audit entry to disk before its action is confirmed."
    )
    metrics_open: bool = Field(False, description="Serve GET /metrics without a key.")

    # Limits; a key may have its own, see docs/reference/security.md
    limit_key_requests_per_s: int | None = Field(
        None, ge=1, description="How many requests per second one key may send; more get 429."
    )
    limit_key_concurrency: int | None = Field(
        None, ge=1, description="How many requests of one key a process handles at once."
    )
    limit_agent_requests_per_s: int | None = Field(
        None, ge=1, description="How many requests per second may concern one agent."
    )
    limit_agent_memories: int | None = Field(
        None, ge=1, description="How many memories one agent may have; further ones get 507."
    )
    limit_agent_bytes: int | None = Field(
        None, ge=1, description="How many bytes of records and vectors one agent may have."
    )
    limit_top_k: int | None = Field(None, ge=1, description="The largest `top_k` of a search.")
    limit_batch: int | None = Field(
        None, ge=1, description="The largest number of items in a batch."
    )
    limit_metadata_bytes: int | None = Field(
        None, ge=1, description="The largest `metadata` of a memory, in bytes as JSON."
    )

    # Memory
    dimension: int = Field(
        256, ge=2, le=32768, description="The length of every vector, fixed once data is stored."
    )
    vector_type: VectorType = Field(
        "float32",
        description="How vectors are stored and compared. float16 rounds them and needs about "
        "two thirds of the memory (docs/reference/float16.md). It is fixed once data is stored.",
    )
    layout: Layout = Field(
        "per_agent",
        description="per_agent gives each agent an exact index of its own; shared puts all "
        "agents into one HNSW index, `episodic_memory_idx`.",
    )
    require_as_of: bool = Field(
        False, description="Refuse questions without `as_of`. Set it for backtests."
    )

    shared_max_age_days: float = Field(
        0.0,
        ge=0,
        le=36_500,
        description="Other agents do not see memories older than this many days by timestamp; 0 "
        "sets no limit.",
    )
    estimate_history_memories: int = Field(
        500_000,
        ge=0,
        description="How many memories each process keeps as a few numbers (about 200 bytes each) "
        "for the novelty, baseline and interval of estimates. An estimate over more memories has "
        "none of these.",
    )
    metric_max_bytes: int = Field(
        268_435_456,
        ge=0,
        description="How much of state vectors each process keeps (about 1 KB a memory at 256 "
        "dimensions): for the past of estimates over up to 4 million numbers, and to search by a "
        "learned distance, which is refused over more than this.",
    )
    hnsw_threshold: int = Field(
        20_000,
        ge=0,
        description="With layout per_agent: an agent with more memories than this is searched "
        "approximately (HNSW) until it has fewer than half as many. 0 keeps every search exact.",
    )
    hnsw_check_interval_s: float = Field(
        60.0, gt=0, description="How often partitions are checked against MEMORY_HNSW_THRESHOLD."
    )

    semantic_history_changes: int = Field(
        1000, ge=1, description="How many earlier revisions of a concept are kept for `as_of`."
    )
    semantic_history_days: float = Field(
        365.0, ge=1, le=36_500, description="How long an earlier revision of a concept is kept."
    )

    # Change feed, see docs/reference/change-feed.md
    feed_entries: int = Field(
        10_000,
        ge=100,
        description="How many entries of each agent's changes are kept, about 100 bytes each; a "
        "batch of 32 experiences is one. A reader further behind takes a new snapshot.",
    )
    feed_max_readers: int = Field(
        2000, ge=1, description="How many readers of a process may wait for changes; more get 503."
    )

    # Counters of semantic searches
    access_flush_interval_s: float = Field(
        1.0,
        gt=0,
        le=3600,
        description="How often each process sends its counted hits to Redis. A process that is "
        "killed loses at most the hits of one interval; one that stops loses none.",
    )
    access_fold_interval_s: float = Field(
        5.0,
        gt=0,
        le=86_400,
        description="How often counters move into the index. Filters and sorts on access_count and "
        "last_accessed lag by this and one flush. If moving takes more than a tenth of "
        "the interval, it happens less often, so that Redis has time for requests.",
    )

    # Retention
    retention_interval_s: float = Field(
        0.0, ge=0, description="How often the service prunes by these rules; 0: never by itself."
    )
    retention_episodic_max_age_days: float = Field(
        90.0, ge=0, le=36_500, description="Retention removes experiences older than this."
    )
    retention_episodic_age_by: Literal["recorded_at", "timestamp"] = Field(
        "recorded_at",
        description="Which time sets an experience's age: recorded_at (when it was stored) or "
        "timestamp (the market's, so that imported history is old at once).",
    )
    retention_past_days: float = Field(
        365.0,
        ge=0,
        le=36_500,
        description="How long experiences that retention removed still answer questions as of an "
        "earlier moment; 0: not at all.",
    )
    retention_past_memories: int = Field(
        5000, ge=0, description="The most of these that are kept for each agent: the latest."
    )
    retention_keep_sharpe_ratio_above: float = Field(
        1.0, allow_inf_nan=False, description="Retention keeps concepts with a higher Sharpe ratio."
    )
    retention_keep_access_count_above: int = Field(
        100, ge=0, description="Retention keeps concepts found more often in 30 days."
    )
    retention_semantic_min_age_days: float = Field(
        30.0, ge=0, le=36_500, description="The background job keeps concepts younger than this."
    )

    # Consolidation, which needs scikit-learn
    consolidation_interval_s: float = Field(
        0.0, ge=0, description="How often each agent's experiences are consolidated; 0: never."
    )
    consolidation_days: float = Field(
        30.0, gt=0, le=36_500, description="How many days of experiences a consolidation covers."
    )
    consolidation_promote_memories: int = Field(
        100, ge=1, description="How many memories a pattern needs to be promoted."
    )
    consolidation_promote_sharpe_ratio: float = Field(
        0.0,
        allow_inf_nan=False,
        description="The Sharpe ratio that a pattern needs to be promoted, besides convincing "
        "later data (docs/reference/consolidation.md).",
    )
    consolidation_deprecate_fall: float = Field(
        0.5,
        ge=0,
        allow_inf_nan=False,
        description="How far a promoted pattern's Sharpe ratio may fall before the pattern is "
        "deprecated.",
    )

    # Redis
    redis_url: RedisUrl | None = Field(
        None,
        description="The master's address: redis://, rediss:// or unix://. If unset, the "
        "service starts the embedded Redis.",
    )
    redis_tls_ca_file: Path | None = Field(
        None,
        description="The certificates that a rediss:// server is checked against. If unset, "
        "the system's are used.",
    )
    redis_tls_cert_file: Path | None = Field(
        None, description="The service's own certificate, if Redis asks for one (mutual TLS)."
    )
    redis_tls_key_file: Path | None = Field(
        None, description="The private key of MEMORY_REDIS_TLS_CERT_FILE."
    )
    sentinel_urls: Annotated[tuple[RedisUrl, ...], NoDecode, BeforeValidator(_split)] = Field(
        (),
        description="The Sentinels' addresses (redis://user:password@host:26379), separated by "
        "commas; set them instead of MEMORY_REDIS_URL. They name the master. With rediss://, "
        "all nodes use TLS.",
    )
    sentinel_master: str = Field(
        "coinswarm", min_length=1, description="The name that the Sentinels give the master."
    )
    redis_username: str | None = Field(
        None,
        description="The user name for the nodes that the Sentinels name; the Sentinels' own is in "
        "their URLs.",
    )
    redis_password: SecretStr | None = Field(
        None, description="The password for the nodes that the Sentinels name."
    )
    groups: SecretStr | None = Field(
        None,
        description="Several independent Redis that share the memory, each with a part of the "
        "agents: `a=redis://h1,redis://h2; b=main@redis://s1,redis://s2` (a master with its "
        "replica; a master's name at its Sentinels), or JSON (docs/reference/groups.md). Set it "
        "instead of MEMORY_REDIS_URL and MEMORY_SENTINEL_URLS.",
    )
    partial_answers: bool = Field(
        True,
        description="While a group is away, answer questions about many agents from the others, "
        "with `partial: true` and the names of the groups that did not answer. If false: 503.",
    )
    group_timeout_ms: int = Field(
        3000,
        ge=1,
        description="How long a question about many agents waits for one group before the others "
        "answer without it. A group that is known to hang is not asked.",
    )
    redis_max_connections: int = Field(
        50, ge=1, le=10_000, description="How many connections the pool opens to each Redis node."
    )
    redis_connect_timeout_s: float = Field(
        5.0, gt=0, description="How long to wait for a connection to Redis."
    )
    redis_read_timeout_s: float = Field(
        5.0, gt=0, description="How long to wait for a reply from Redis."
    )
    redis_pool_wait_s: float = Field(
        1.0, gt=0, description="How long to wait for a free connection; then 503 `overloaded`."
    )
    search_timeout_ms: int = Field(
        1000, ge=1, description="How long Redis may spend on one search."
    )
    index_wait_s: float = Field(
        5.0, gt=0, description="How long to wait for a lost index to be rebuilt; then 503."
    )

    # Replicas
    replica_urls: Annotated[tuple[RedisUrl, ...], NoDecode, BeforeValidator(_split)] = Field(
        (), description="The read replicas' redis:// addresses, separated by commas."
    )
    node_poll_interval_ms: int = Field(
        250, ge=10, description="How often each node's health and lag are checked."
    )
    replica_max_lag_bytes: int = Field(
        1024 * 1024,
        ge=0,
        description="How far behind its master a replica may be and still get reads.",
    )
    replica_timeout_ms: int = Field(
        300, ge=1, description="How long to wait for a replica before another node is asked."
    )

    # Durability
    durability: Durability = Field(
        "memory",
        description="How safe a write must be before it is confirmed, unless X-Durability asks "
        "for another level: memory, replicated (replicas have it) or fsynced (it is on disk).",
    )
    durability_replicas: int = Field(
        1,
        ge=1,
        le=100,
        description="How many replicas must acknowledge a `replicated` write. With Sentinels, "
        "every replica that follows the master must.",
    )
    durability_timeout_ms: int = Field(
        3000,
        ge=1,
        le=60_000,
        description="How long to wait for `replicated` or `fsynced`; then 503.",
    )

    # Read path, in its order: cache, single flight, batcher, balancer and breakers
    default_deadline_ms: int = Field(
        30_000, ge=1, description="How long a request without X-Deadline-Ms may take."
    )
    cache_enabled: bool = Field(True, description="Answer repeated questions from a cache.")
    cache_ttl_s: float = Field(60.0, gt=0, description="How long an answer stays in the cache.")
    cache_max_entries: int = Field(10_000, ge=1, description="How many answers the cache holds.")
    cache_max_bytes: int = Field(
        64 * 1024 * 1024, ge=1024, description="About how much memory the cached answers may take."
    )
    sample_tables_max_bytes: int = Field(
        256 * 1024 * 1024,
        ge=0,
        description="About how much memory a process uses for agents that are sampled repeatedly; "
        "their samples do not ask Redis. 0 keeps none.",
    )
    resident_max_bytes: int = Field(
        256 * 1024 * 1024,
        ge=0,
        description="About how much memory a process uses for copies of the agents that are asked "
        "most; their searches do not ask Redis. 0 keeps none.",
    )
    single_flight_enabled: bool = Field(
        True, description="Send identical concurrent questions to Redis only once."
    )
    batch_enabled: bool = Field(
        True, description="Send questions that are waiting for Redis in one round trip."
    )
    batch_window_ms: float = Field(
        10.0, gt=0, description="How long a question waits for a busy Redis connection."
    )
    batch_max_queries: int = Field(
        8,
        ge=1,
        description="How many questions go out in one round trip; a full batch does not wait "
        "for the one in progress.",
    )
    batch_max_in_flight: int = Field(
        1, ge=1, description="How many round trips may be in progress before questions queue."
    )
    batch_max_waiting: int = Field(
        10_000,
        ge=1,
        description="How many questions may wait, including at Redis; further ones get 503 "
        "`overloaded`.",
    )
    balancer_enabled: bool = Field(
        True,
        description="Choose the node by health, lag and load, and avoid failing ones. If off, "
        "every search goes to the master, whatever its state, and tokens are not checked.",
    )
    breaker_failures: int = Field(
        5, ge=1, description="How many consecutive failures open a node's circuit breaker."
    )
    breaker_slow_ms: float = Field(
        500.0, gt=0, description="The duration above which a call counts as slow."
    )
    breaker_slow_share: float = Field(
        0.5, gt=0, le=1, description="The share of slow calls that opens a node's circuit breaker."
    )
    breaker_window: int = Field(
        20, ge=1, description="How many recent calls the share of slow calls is computed over."
    )
    breaker_open_s: float = Field(
        1.0, gt=0, description="How long an open circuit breaker waits before it tries one call."
    )

    # Decisions, see docs/guide/uplift.md
    arm_no_memory_share: float = Field(
        0.0, ge=0, lt=1, description="The share of questions with `recall` that get no memory."
    )
    arm_placebo_share: float = Field(
        0.0, ge=0, lt=1, description="The share of questions with `recall` that get a placebo."
    )
    decision_open_days: float = Field(
        30.0, gt=0, le=3650, description="How long after its recall a decision may be closed."
    )

    # Recall of approximate answers
    recall_sample_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="The share of approximate answers that is compared with exact ones in the "
        "background, while there is spare capacity. With 0, none is compared and "
        "EF_RUNTIME does not change.",
    )
    recall_target: float = Field(
        0.98, gt=0, le=1, description="The recall that EF_RUNTIME is raised to reach."
    )
    recall_latency_budget_ms: float = Field(
        5.0, gt=0, description="How long one search may take; EF_RUNTIME is not raised beyond that."
    )
    ef_runtime_max: int = Field(512, ge=64, le=4096, description="The highest EF_RUNTIME.")

    # Metrics
    metrics_max_agents: int = Field(
        100,
        ge=0,
        description="How many agents have a label in the metrics; the others are `other`.",
    )
    metrics_interval_s: float = Field(
        5.0, gt=0, description="How often Redis is asked for its part of /metrics."
    )
    slowlog_slower_than_us: int = Field(
        10_000,
        ge=-1,
        description="The duration in microseconds above which Redis records a command in its "
        "slow log; 0 records all, -1 none.",
    )

    # Embedded Redis
    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="The folder of the embedded Redis. It survives restarts.",
    )
    embedded_port: int = Field(
        0, ge=0, le=65535, description="Loopback port of the embedded Redis; 0 takes any free one."
    )
    embedded_topology: EmbeddedTopologyName = Field(
        "replicas",
        description="Which nodes the embedded Redis has. single: one. replicas: a master and "
        "MEMORY_EMBEDDED_REPLICAS replicas. sentinel: the same (2 replicas if that is 0) and "
        "three Sentinels, which replace a master that dies. groups: MEMORY_EMBEDDED_GROUPS "
        "masters that share the agents, each with MEMORY_EMBEDDED_REPLICAS replicas; if that is "
        "not 0, three Sentinels watch all of them.",
    )
    embedded_replicas: int = Field(
        0, ge=0, le=8, description="How many replicas the embedded Redis has."
    )
    embedded_groups: int = Field(
        3, ge=1, le=16, description="How many groups the embedded Redis has, with topology groups."
    )
    embedded_maxmemory_bytes: int = Field(
        0, ge=0, description="The memory limit of the embedded Redis in bytes; 0 sets none."
    )
    embedded_start_timeout_s: float = Field(
        120.0, gt=0, description="How long to wait for the embedded Redis to load its data."
    )

    @property
    def keeps_past(self) -> bool:
        """Return whether experiences that retention removes are kept for earlier moments."""
        return self.retention_past_days > 0 and self.retention_past_memories > 0
