"""All settings, read once from the environment (`MEMORY_...`) and `.env`, then frozen.

The application (app/api/app.py) and the commands build a `Settings`; everything else is handed
its values.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.context import Durability
from app.errors import ConfigurationError

ENV_PREFIX = "MEMORY_"
ENV_FILE = ".env"
OF_CLIENTS = {"MEMORY_API_KEY"}
"""What the demo and the load tests read beside it (bench/client_key.py): not misspelt."""
OF_TESTS = {"MEMORY_TEST_REDIS_SERVER", "MEMORY_TEST_REDIS_SEARCH"}
"""What names another embedded Redis (app/embedded/files.py): no settings either."""

Layout = Literal["per_agent", "shared"]
VectorType = Literal["float32", "float16"]
EmbeddedTopologyName = Literal["single", "replicas", "sentinel"]


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
    """The service's settings. Each field is the variable `MEMORY_<NAME>`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_file=ENV_FILE,
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
    )

    # --- HTTP -------------------------------------------------------------------------------
    host: str = Field("127.0.0.1", description="Address that the service listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=256, description="Service processes on the same port.")
    max_body_bytes: int = Field(
        32 * 1024 * 1024, ge=1024, description="Largest request body in bytes (413 above)."
    )
    max_answer_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024 * 1024,
        description="Largest answer in bytes; what would be larger is refused (422).",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = Field(
        (),
        description="Names that a request's Host may have beside this machine's own, with commas; "
        "`*`: any. Unset: only a service on loopback without keys looks at it.",
    )
    mcp: Literal["off", "read", "write"] = Field(
        "read",
        description="What language models may do at /mcp, beside what their key allows: nothing, "
        "read, or read and write. Needs the extra `mcp`.",
    )
    max_connections: int = Field(
        1000, ge=1, description="Connections that one process keeps open; beyond: 503."
    )
    keep_alive_s: int = Field(
        300, ge=1, le=86_400, description="How long an idle connection is kept open."
    )
    head_timeout_s: float = Field(
        10.0, gt=0, le=3600, description="Longest wait for a request's line and headers."
    )
    body_timeout_s: float = Field(
        30.0, gt=0, le=3600, description="Longest wait for a request's whole body."
    )
    write_timeout_s: float = Field(
        30.0, gt=0, le=3600, description="Longest wait for a caller to read its answer."
    )
    shutdown_timeout_s: int = Field(
        30, ge=1, le=3600, description="Longest wait for requests under way when the service ends."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe level that is logged."
    )

    # --- Who may come in (docs/reference/security.md) ------------------------------------------
    auth: Literal["auto", "off", "file", "redis"] = Field(
        "auto",
        description="Where API keys are. auto: MEMORY_API_KEYS_FILE if that is set, else Redis, "
        "and none are asked for until the first one is made there (`python -m app keys create`).",
    )
    api_keys_file: Path | None = Field(
        None, description="File of the API keys, hashed. It is read again when it changes."
    )
    api_keys_poll_s: float = Field(
        0.5, gt=0, le=60, description="How often changed keys are looked for: a revoked one fails."
    )
    audit_file: Path | None = Field(
        None,
        description="File to which deletions, retention, imports and changes of keys are "
        "appended, with who did it and how many. Unset: they go to the log.",
    )
    audit_fsync: bool = Field(
        True, description="Each entry is on the disk before its action is confirmed."
    )
    metrics_open: bool = Field(False, description="GET /metrics asks for no key.")

    # --- Limits (docs/reference/security.md); a key may have its own ---------------------------
    limit_key_requests_per_s: int | None = Field(
        None, ge=1, description="Requests a second with one key, over all processes (429 above)."
    )
    limit_key_concurrency: int | None = Field(
        None,
        ge=1,
        description="Requests of one key that one process works on at once; the others wait.",
    )
    limit_agent_requests_per_s: int | None = Field(
        None, ge=1, description="Requests a second about one agent, over all processes."
    )
    limit_agent_memories: int | None = Field(
        None, ge=1, description="Memories that one agent may have (507 above)."
    )
    limit_agent_bytes: int | None = Field(
        None, ge=1, description="Bytes of records and vectors that one agent may have."
    )
    limit_top_k: int | None = Field(None, ge=1, description="Largest `top_k` of a search.")
    limit_batch: int | None = Field(None, ge=1, description="Most items of one batch.")
    limit_metadata_bytes: int | None = Field(
        None, ge=1, description="Largest `metadata` of one memory, as JSON."
    )

    # --- Memory -----------------------------------------------------------------------------
    dimension: int = Field(
        256, ge=2, le=32768, description="Length of every vector. Fixed once data is stored."
    )
    vector_type: VectorType = Field(
        "float32",
        description="How vectors are stored and compared. float16: rounded, for two thirds of the "
        "memory (docs/reference/float16.md). Fixed once data is stored.",
    )
    layout: Layout = Field(
        "per_agent",
        description="per_agent: one exact index for each agent. shared: the one HNSW index "
        "`episodic_memory_idx` for all agents.",
    )
    require_as_of: bool = Field(
        False,
        description="For backtests: refuse questions that do not say as of when they are asked.",
    )

    shared_max_age_days: float = Field(
        0.0,
        ge=0,
        le=36_500,
        description="Other agents' memories whose timestamp is older are not shared. 0: at any "
        "age.",
    )
    hnsw_threshold: int = Field(
        20_000,
        ge=0,
        description="Layout per_agent: an agent with more memories than this is searched through "
        "HNSW, approximately, until it has half as many. 0: never.",
    )
    hnsw_check_interval_s: float = Field(
        60.0, gt=0, description="How often partitions are looked at for the threshold above."
    )

    semantic_history_changes: int = Field(
        1000,
        ge=1,
        description="Of each concept so many former contents are kept, for questions as of a "
        "moment before a change.",
    )
    semantic_history_days: float = Field(
        365.0, ge=1, le=36_500, description="And none longer than this after the change."
    )

    # --- The change feed (docs/reference/change-feed.md) ----------------------------------------
    feed_entries: int = Field(
        10_000,
        ge=100,
        description="Entries kept of each agent's changes, some 100 bytes each; a batch of 32 "
        "experiences is one. A reader further behind takes a snapshot anew.",
    )
    feed_max_readers: int = Field(
        2000, ge=1, description="Readers of one process that wait for changes; beyond: 503."
    )

    # --- Counters of semantic searches ---------------------------------------------------------
    access_flush_interval_s: float = Field(
        1.0,
        gt=0,
        le=3600,
        description="How often hits counted in this process go to Redis. A process that dies "
        "loses those of this time at the most, one that stops none.",
    )
    access_fold_interval_s: float = Field(
        5.0,
        gt=0,
        le=86_400,
        description="How often counters are moved into the index: filters and sorts on "
        "access_count and last_accessed lag behind by this and one flush. When moving takes more "
        "than a tenth of it, less often, to leave Redis its time.",
    )

    # --- Retention ---------------------------------------------------------------------------
    retention_interval_s: float = Field(
        0.0,
        ge=0,
        description="How often the service prunes by the rules below. 0: never by itself.",
    )
    retention_episodic_max_age_days: float = Field(
        90.0, ge=0, le=36_500, description="Experiences that are older are removed."
    )
    retention_episodic_age_by: Literal["recorded_at", "timestamp"] = Field(
        "recorded_at",
        description="Which time makes an experience's age: recorded_at, when it was stored, or "
        "timestamp, the market's: history is old the moment it is stored.",
    )
    retention_keep_sharpe_ratio_above: float = Field(
        1.0, allow_inf_nan=False, description="Concepts with a higher Sharpe ratio are kept."
    )
    retention_keep_access_count_above: int = Field(
        100, ge=0, description="Concepts that more searches found in the last 30 days are kept."
    )
    retention_semantic_min_age_days: float = Field(
        30.0, ge=0, le=36_500, description="The background job keeps younger concepts."
    )

    # --- Consolidation: patterns of recent experiences (needs scikit-learn) --------------------
    consolidation_interval_s: float = Field(
        0.0, ge=0, description="How often each agent's experiences are consolidated. 0: never."
    )
    consolidation_days: float = Field(
        30.0, gt=0, le=36_500, description="Experiences of so many days are consolidated."
    )
    consolidation_promote_memories: int = Field(
        100, ge=1, description="A pattern is promoted with at least so many memories,"
    )
    consolidation_promote_sharpe_ratio: float = Field(
        1.0, allow_inf_nan=False, description="and at least this Sharpe ratio."
    )
    consolidation_deprecate_fall: float = Field(
        0.5,
        ge=0,
        allow_inf_nan=False,
        description="A promoted pattern whose Sharpe ratio falls by more is deprecated.",
    )

    # --- Redis ------------------------------------------------------------------------------
    redis_url: RedisUrl | None = Field(
        None, description="redis://, rediss:// or unix:// of the master. Unset: embedded Redis."
    )
    redis_tls_ca_file: Path | None = Field(
        None, description="Certificates that vouch for a rediss:// server. Unset: the system's."
    )
    redis_tls_cert_file: Path | None = Field(
        None, description="The service's own certificate, where Redis asks for one (mutual TLS)."
    )
    redis_tls_key_file: Path | None = Field(
        None, description="The private key of MEMORY_REDIS_TLS_CERT_FILE."
    )
    sentinel_urls: Annotated[tuple[RedisUrl, ...], NoDecode, BeforeValidator(_split)] = Field(
        (),
        description="Addresses of the Sentinels, redis://user:password@host:26379, with commas, "
        "instead of MEMORY_REDIS_URL: they say who is the master. rediss:// for all nodes as well.",
    )
    sentinel_master: str = Field(
        "coinswarm", min_length=1, description="What the Sentinels call the master."
    )
    redis_username: str | None = Field(
        None, description="User at the nodes that Sentinels name; the Sentinels' is in their URLs."
    )
    redis_password: SecretStr | None = Field(
        None, description="Password at the nodes that Sentinels name."
    )
    redis_max_connections: int = Field(50, ge=1, le=10_000, description="Connections of the pool.")
    redis_connect_timeout_s: float = Field(5.0, gt=0, description="Longest wait to connect.")
    redis_read_timeout_s: float = Field(5.0, gt=0, description="Longest wait for a reply.")
    redis_pool_wait_s: float = Field(
        1.0, gt=0, description="Longest wait for a free connection, then 503 `overloaded`."
    )
    search_timeout_ms: int = Field(
        1000, ge=1, description="Longest time that Redis may spend on one search."
    )
    index_wait_s: float = Field(
        5.0, gt=0, description="Longest wait for a lost index to be rebuilt before 503."
    )

    # --- Replicas ---------------------------------------------------------------------------
    replica_urls: Annotated[tuple[RedisUrl, ...], NoDecode, BeforeValidator(_split)] = Field(
        (), description="redis:// addresses of read replicas, separated by commas."
    )
    node_poll_interval_ms: int = Field(
        250, ge=10, description="How often each node's health and lag are looked at."
    )
    replica_max_lag_bytes: int = Field(
        1024 * 1024, ge=0, description="A replica further behind its master gets no reads."
    )
    replica_timeout_ms: int = Field(
        300, ge=1, description="Longest wait for a replica before another node is asked."
    )

    # --- Durability -------------------------------------------------------------------------
    durability: Durability = Field(
        "memory",
        description="How safe a write is before it is confirmed, unless X-Durability asks for "
        "another level: memory, replicated (replicas have it) or fsynced (it is on disks).",
    )
    durability_replicas: int = Field(
        1,
        ge=1,
        le=100,
        description="Replicas that must have a `replicated` write at least. With Sentinels all "
        "must that follow the master.",
    )
    durability_timeout_ms: int = Field(
        3000, ge=1, le=60_000, description="Longest wait for `replicated` or `fsynced`, then 503."
    )

    # --- Read path: cache -> single flight -> batcher -> balancer and breakers -> Redis --------
    default_deadline_ms: int = Field(
        30_000, ge=1, description="Longest time for a request without X-Deadline-Ms."
    )
    cache_enabled: bool = Field(True, description="Answer repeated questions from memory.")
    cache_ttl_s: float = Field(60.0, gt=0, description="Longest time that an answer is kept.")
    cache_max_entries: int = Field(10_000, ge=1, description="Most answers that are kept.")
    cache_max_bytes: int = Field(
        64 * 1024 * 1024, ge=1024, description="Most memory that kept answers take, about."
    )
    single_flight_enabled: bool = Field(
        True, description="Identical questions under way share one call."
    )
    batch_enabled: bool = Field(True, description="Questions that wait for Redis go out together.")
    batch_window_ms: float = Field(
        10.0, gt=0, description="Longest wait of a question for a busy Redis connection."
    )
    batch_max_queries: int = Field(
        8,
        ge=1,
        description="Most questions in one round trip; so many do not wait for one under way.",
    )
    batch_max_in_flight: int = Field(
        1, ge=1, description="Round trips under way before questions gather."
    )
    batch_max_waiting: int = Field(
        10_000,
        ge=1,
        description="Questions that may wait, at Redis too; beyond: 503 `overloaded`.",
    )
    balancer_enabled: bool = Field(
        True,
        description="Choose the node by health, lag and load, and leave a failing one alone. Off: "
        "every search asks the master, whatever its state, and tokens are not checked.",
    )
    breaker_failures: int = Field(
        5, ge=1, description="Failures in a row after which a node is left alone."
    )
    breaker_slow_ms: float = Field(500.0, gt=0, description="A call longer than this is slow.")
    breaker_slow_share: float = Field(
        0.5, gt=0, le=1, description="Share of slow calls at which a node is left alone."
    )
    breaker_window: int = Field(20, ge=1, description="Latest calls that the share is taken of.")
    breaker_open_s: float = Field(
        1.0, gt=0, description="How long a node is left alone before one call tries it."
    )

    # --- Recall of approximate answers ----------------------------------------------------------
    recall_sample_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of approximate answers that is compared with exact ones in the "
        "background, as far as there is time. 0: none, and EF_RUNTIME stays as it is.",
    )
    recall_target: float = Field(
        0.98, gt=0, le=1, description="Recall that EF_RUNTIME is raised for."
    )
    recall_latency_budget_ms: float = Field(
        5.0, gt=0, description="Time of one search that EF_RUNTIME may not go beyond."
    )
    ef_runtime_max: int = Field(512, ge=64, le=4096, description="Highest EF_RUNTIME.")

    # --- What is watched --------------------------------------------------------------------
    metrics_max_agents: int = Field(
        100, ge=0, description="Agents with a name of their own in metrics; the others are `other`."
    )
    metrics_interval_s: float = Field(
        5.0, gt=0, description="How often Redis is asked for the figures at /metrics."
    )
    slowlog_slower_than_us: int = Field(
        10_000,
        ge=-1,
        description="Redis notes commands that take longer, in microseconds; 0: all, -1: none.",
    )

    # --- Embedded Redis ---------------------------------------------------------------------
    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="Folder of the embedded Redis. Survives restarts.",
    )
    embedded_port: int = Field(
        0, ge=0, le=65535, description="Loopback port of the embedded Redis; 0 takes a free one."
    )
    embedded_topology: EmbeddedTopologyName = Field(
        "replicas",
        description="What the embedded Redis is. single: one node. replicas: a master and "
        "MEMORY_EMBEDDED_REPLICAS replicas. sentinel: as many (0: 2) and three Sentinels, which "
        "replace a master that died.",
    )
    embedded_replicas: int = Field(
        0, ge=0, le=8, description="Replicas that the embedded Redis starts beside its master."
    )
    embedded_maxmemory_bytes: int = Field(
        0, ge=0, description="Memory limit of the embedded Redis in bytes; 0: none."
    )
    embedded_start_timeout_s: float = Field(
        120.0, gt=0, description="Longest wait for the embedded Redis to load its data."
    )


def _unknown_names(names: Iterable[str]) -> list[str]:
    settings = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields}
    known = settings | OF_CLIENTS | OF_TESTS
    return sorted(n for n in names if n.upper().startswith(ENV_PREFIX) and n.upper() not in known)


def load_settings(env_file: Path | None = None) -> Settings:
    """Read the settings from the environment and `.env`.

    Raises ConfigurationError for a wrong value and for a `MEMORY_` variable that does not exist:
    a misspelt setting must not pass for its default.
    """
    path = env_file or Path(ENV_FILE)
    in_file = dotenv_values(path) if path.is_file() else {}
    unknown = _unknown_names({*os.environ, *in_file})
    if unknown:
        raise ConfigurationError(
            f"Unknown setting {', '.join(unknown)}: correct the name or unset it "
            "(`python -m app settings` lists them)."
        )
    try:
        settings = Settings(_env_file=path)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ENV_PREFIX + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(f"Setting {name} is wrong: {first['msg']}.") from error
    if settings.auth == "file" and settings.api_keys_file is None:
        raise ConfigurationError("MEMORY_AUTH is file: set MEMORY_API_KEYS_FILE to that file.")
    if settings.auth == "redis" and settings.api_keys_file is not None:
        raise ConfigurationError("MEMORY_AUTH is redis: unset MEMORY_API_KEYS_FILE, or use file.")
    if settings.durability_timeout_ms >= settings.redis_read_timeout_s * 1000:
        raise ConfigurationError(
            "MEMORY_DURABILITY_TIMEOUT_MS must be less than MEMORY_REDIS_READ_TIMEOUT_S, for Redis "
            "answers only then."
        )
    if settings.sentinel_urls and (settings.redis_url is not None or settings.replica_urls):
        raise ConfigurationError(
            "MEMORY_SENTINEL_URLS find the master and its replicas: leave out MEMORY_REDIS_URL and "
            "MEMORY_REPLICA_URLS."
        )
    if settings.replica_urls and settings.redis_url is None:
        raise ConfigurationError(
            "MEMORY_REPLICA_URLS are replicas of MEMORY_REDIS_URL: set that too, or use "
            "MEMORY_EMBEDDED_REPLICAS."
        )
    return settings
