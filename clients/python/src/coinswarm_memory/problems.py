"""One error for each problem code of the service.

Generated from the service's own table by tools/generate_problems.py: change that table, not this.
"""

from typing import Final

from coinswarm_memory.errors import ServiceProblem


class ServiceFailed(ServiceProblem):
    """The service failed in a way that nobody foresaw."""

    code = "internal"


class InputError(ServiceProblem):
    """The request cannot be carried out as it is."""


class InvalidInput(InputError):
    """A field's value is not allowed. `field` names it."""

    code = "invalid_input"


class InvalidJson(InputError):
    """The body is not JSON."""

    code = "invalid_json"


class BodyTooLarge(InputError):
    """The body exceeds the limit in bytes."""

    code = "body_too_large"


class AnswerTooLarge(InputError):
    """The answer would exceed the limit in bytes."""

    code = "answer_too_large"


class MemoryNotFound(InputError):
    """There is no memory under this id."""

    code = "memory_not_found"


class ContentConflict(InputError):
    """The id already holds a memory with other content."""

    code = "content_conflict"


class QualityConflict(InputError):
    """The memory has another quality already."""

    code = "quality_conflict"


class OutcomeConflict(InputError):
    """The memory is already closed with another outcome."""

    code = "outcome_conflict"


class PositionLost(InputError):
    """Changes after this position are not kept any more, or a failover lost some that it saw."""

    code = "position_lost"


class KeyMissing(InputError):
    """No key was given, and the route asks for one."""

    code = "key_missing"


class KeyInvalid(InputError):
    """The key is unknown, revoked or past its time: which of these is not told."""

    code = "key_invalid"


class RoleForbidden(InputError):
    """The key's role is not enough for the route."""

    code = "role_forbidden"


class AgentForbidden(InputError):
    """The key is bound to other agents."""

    code = "agent_forbidden"


class ScopeForbidden(InputError):
    """The key may not ask other agents' memories."""

    code = "scope_forbidden"


class SemanticForbidden(InputError):
    """The key may not change semantic memory."""

    code = "semantic_forbidden"


class RateLimited(InputError):
    """More requests than the key, or the agent, may send. Draft names of the header fields:
    draft-ietf-httpapi-ratelimit-headers-10.
    """

    code = "rate_limited"


class QuotaReached(InputError):
    """The agent's memory holds as much as it may."""

    code = "quota_reached"


class StorageError(ServiceProblem):
    """Redis could not do what was asked."""


class StorageUnavailable(StorageError):
    """No connection to a Redis that can do this."""

    code = "storage_unavailable"


class StorageLoading(StorageError):
    """Redis is loading its data set."""

    code = "storage_loading"


class IndexRebuilding(StorageError):
    """The index was lost and is being rebuilt from the stored memories."""

    code = "index_rebuilding"


class StorageTimeout(StorageError):
    """Redis did not answer in time. A write may or may not have happened."""

    code = "storage_timeout"


class TooFewReplicas(StorageError):
    """The master follows its orders not to take writes while too few replicas are in reach."""

    code = "too_few_replicas"


class DurabilityNotReached(StorageError):
    """The write may exist, but not as safely as was asked for. The same request may be
    repeated.
    """

    code = "durability_not_reached"


class DurabilityImpossible(DurabilityNotReached):
    """The level needs replicas, and the service has none. Nothing was written."""


class SearchTimeout(StorageError):
    """The search itself takes too long. That is the question's doing, not the node's."""

    code = "search_timeout"


class StorageFull(StorageError):
    """Redis is at its memory limit and evicts nothing."""

    code = "storage_full"


class StorageUnwritable(StorageError):
    """Redis cannot write to its disk and takes no writes until it can again."""

    code = "storage_unwritable"


class StorageFailed(StorageError):
    """Redis answered with an error that the service does not expect."""

    code = "storage_failed"


class Overloaded(ServiceProblem):
    """More requests than the service can carry right now."""

    code = "overloaded"


class AuditUnavailable(ServiceProblem):
    """What is done cannot be written down, so it is not done, or not known to be done."""

    code = "audit_unavailable"


class DeadlineExceeded(ServiceProblem):
    """The caller's time is over, or would be before the answer. A write may have happened."""

    code = "deadline_exceeded"


class TokenUnknown(ServiceProblem):
    """The token is of another history of the data: Redis was replaced or failed over."""

    code = "token_unknown"


class TokenNotReached(ServiceProblem):
    """No node in reach has the token's write yet."""

    code = "token_not_reached"


CLASSES: Final[dict[str, type[ServiceProblem]]] = {
    AgentForbidden.code: AgentForbidden,
    AnswerTooLarge.code: AnswerTooLarge,
    AuditUnavailable.code: AuditUnavailable,
    BodyTooLarge.code: BodyTooLarge,
    ContentConflict.code: ContentConflict,
    DeadlineExceeded.code: DeadlineExceeded,
    DurabilityNotReached.code: DurabilityNotReached,
    IndexRebuilding.code: IndexRebuilding,
    InvalidInput.code: InvalidInput,
    InvalidJson.code: InvalidJson,
    KeyInvalid.code: KeyInvalid,
    KeyMissing.code: KeyMissing,
    MemoryNotFound.code: MemoryNotFound,
    OutcomeConflict.code: OutcomeConflict,
    Overloaded.code: Overloaded,
    PositionLost.code: PositionLost,
    QualityConflict.code: QualityConflict,
    QuotaReached.code: QuotaReached,
    RateLimited.code: RateLimited,
    RoleForbidden.code: RoleForbidden,
    ScopeForbidden.code: ScopeForbidden,
    SearchTimeout.code: SearchTimeout,
    SemanticForbidden.code: SemanticForbidden,
    ServiceFailed.code: ServiceFailed,
    StorageFailed.code: StorageFailed,
    StorageFull.code: StorageFull,
    StorageLoading.code: StorageLoading,
    StorageTimeout.code: StorageTimeout,
    StorageUnavailable.code: StorageUnavailable,
    StorageUnwritable.code: StorageUnwritable,
    TokenNotReached.code: TokenNotReached,
    TokenUnknown.code: TokenUnknown,
    TooFewReplicas.code: TooFewReplicas,
}
"""The class of each code."""
