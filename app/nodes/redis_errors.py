"""Translates redis-py's errors and Redis's own messages to the service's errors, by one table."""

from types import TracebackType

import redis.exceptions as foreign

from app import errors


class IndexMissing(Exception):
    """The index (or its alias) does not exist on the node that was asked."""


class OtherAlgorithm(Exception):
    """The index behind the alias uses the other algorithm: it lacks the requested vector."""


class ScriptMissing(Exception):
    """The node does not have the Lua script."""


class AgentMoving(errors.StorageUnavailable, may_have_happened=False):
    """The agent is being moved to another group, or was. Nothing was written."""


# Most errors can be told only by their text. These are the wordings of RediSearch 2.10 and Redis 8.
_INDEX_MISSING = (
    "no such index",
    "unknown index name",
    "index not found",
    "search_index_not_found",
)
# A KNN over a vector name that the index lacks has no distance to sort by.
_VECTOR_MISSING = ("not loaded nor in schema", "unknown field", "search_prop_not_found")
_FULL = (
    "Redis is at its memory limit: delete memories or raise maxmemory, as "
    "docs/runbooks/out-of-memory.md says."
)
_UNWRITABLE = (
    "Redis cannot write to its disk: free disk space (docs/runbooks/disk-full.md); then it accepts "
    "writes again by itself."
)
_LOADING = "Redis is loading its data: try again shortly."
_DEMOTED = "This Redis is a replica now: try again shortly."
_NO_ANSWER = "Redis did not answer in time: try again, a store with the same id."
_PASSWORD = "Redis refused the password: check MEMORY_REDIS_URL."  # noqa: S105 - a sentence
_UNREACHABLE = "Redis cannot be reached: try again shortly."
_REFUSED = "Redis refused the command: see the service's log."

_REPLY_WORDS: tuple[tuple[tuple[str, ...], type[errors.StorageError], str], ...] = (
    (
        ("timeout limit was reached", "search_timeout", "query timed out"),
        errors.SearchTimeout,
        "The search took longer than MEMORY_SEARCH_TIMEOUT_MS: narrow the filters.",
    ),
    # With search-on-oom fail.
    (("not enough memory available to execute", "search_oom"), errors.StorageFull, _FULL),
    (("wait cannot be used with replica",), errors.StorageUnavailable, _DEMOTED),
)
_REPLY_PREFIXES: tuple[tuple[str, type[errors.StorageError], str], ...] = (
    ("OOM", errors.StorageFull, _FULL),
    (
        "AGENTMOVING",
        AgentMoving,
        "The agent is being moved to another group of Redis: try again shortly.",
    ),
    ("LOADING", errors.StorageLoading, _LOADING),
    ("READONLY", errors.StorageUnavailable, _DEMOTED),
    ("MASTERDOWN", errors.StorageUnavailable, "The replica lost its master: try again shortly."),
    (
        "NOREPLICAS",
        errors.TooFewReplicas,
        "Redis refuses writes while fewer replicas than min-replicas-to-write are connected: try "
        "again shortly.",
    ),
    ("MISCONF", errors.StorageUnwritable, _UNWRITABLE),
    ("NOPERM", errors.StorageFailed, "The Redis user lacks a permission: see redis/README.md."),
)

# The blocking pool reports the end of its wait with a plain ConnectionError.
_POOL_EXHAUSTED = "No connection available"
_ALL_BUSY = "All connections to Redis are busy: try again shortly."

# The most specific class first. BusyLoadingError is a ConnectionError to redis-py.
FOREIGN_ERRORS: tuple[tuple[type[foreign.RedisError], type[errors.MemoryServiceError], str], ...]
FOREIGN_ERRORS = (
    (foreign.BusyLoadingError, errors.StorageLoading, _LOADING),
    (foreign.OutOfMemoryError, errors.StorageFull, _FULL),
    (foreign.ReadOnlyError, errors.StorageUnavailable, _DEMOTED),
    (foreign.MaxConnectionsError, errors.Overloaded, _ALL_BUSY),
    (foreign.TimeoutError, errors.StorageTimeout, _NO_ANSWER),
    (foreign.AuthenticationError, errors.StorageFailed, _PASSWORD),
    (foreign.ConnectionError, errors.StorageUnavailable, _UNREACHABLE),
    (foreign.RedisError, errors.StorageFailed, _REFUSED),
)


def translate(error: foreign.RedisError) -> Exception:
    """Return the service's error for one of redis-py's. The cause stays attached."""
    ours = _translate_reply(error) if isinstance(error, foreign.ResponseError) else None
    if _POOL_EXHAUSTED in str(error):
        ours = errors.Overloaded(_ALL_BUSY, retry_after_s=1)
    if ours is None:
        ours = next(
            known(sentence, retry_after_s=1 if known.retryable else None)
            for theirs, known, sentence in FOREIGN_ERRORS
            if isinstance(error, theirs)
        )
    ours.__cause__ = error
    return ours


def refusal_of(error: BaseException) -> str | None:
    """Return Redis's words if it refused a command with them; None for any other failure."""
    cause = error.__cause__
    return str(cause) if isinstance(cause, foreign.ResponseError) else None


def is_forbidden(error: BaseException) -> bool:
    """Return whether Redis's access list forbids this to the service."""
    return isinstance(error.__cause__, foreign.NoPermissionError)


def as_error(reply: object) -> object:
    """Return a reply of a pipeline, with redis-py's errors translated."""
    return translate(reply) if isinstance(reply, foreign.RedisError) else reply


def _translate_reply(error: foreign.ResponseError) -> Exception | None:
    text = str(error)
    folded = text.lower()
    if any(words in folded for words in _INDEX_MISSING):
        return IndexMissing(text)
    if any(words in folded for words in _VECTOR_MISSING):
        return OtherAlgorithm(text)
    if text.startswith("NOSCRIPT") or isinstance(error, foreign.NoScriptError):
        return ScriptMissing(text)
    for wordings, known, sentence in _REPLY_WORDS:
        if any(words in folded for words in wordings):
            return known(sentence)
    for prefix, known, sentence in _REPLY_PREFIXES:
        if text.startswith(prefix):
            return known(sentence, retry_after_s=1 if known.retryable else None)
    return None


class translated:  # noqa: N801 - reads as a function where it is used
    """Raises the service's errors in place of redis-py's.

    A class, because a generator takes five times as long.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, foreign.RedisError):
            raise translate(error) from error
