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
    """A field's value is not allowed. `field` names the field."""

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
    """No memory has this id."""

    code = "memory_not_found"


class ContentConflict(InputError):
    """The id already belongs to a memory with different content."""

    code = "content_conflict"


class QualityConflict(InputError):
    """The memory already has a different quality."""

    code = "quality_conflict"


class OutcomeConflict(InputError):
    """The memory was already closed with a different outcome."""

    code = "outcome_conflict"


class PositionLost(InputError):
    """The changes after this position are no longer kept, or a failover lost some of them."""

    code = "position_lost"


class MetricNotFound(InputError):
    """No learned distance has this id, or it is not the caller's to use."""

    code = "metric_not_found"


class MetricFromTheFuture(InputError):
    """The distance was learned from outcomes that were not known at the question's moment."""

    code = "metric_from_the_future"


class PromotionRefused(InputError):
    """The evaluation does not prove that the distance helps on later data."""

    code = "promotion_refused"


class KeyMissing(InputError):
    """The route needs a key and none was sent."""

    code = "key_missing"


class KeyInvalid(InputError):
    """The key is unknown, revoked or expired; the answer does not say which."""

    code = "key_invalid"


class RoleForbidden(InputError):
    """The key's role does not allow this route."""

    code = "role_forbidden"


class AgentForbidden(InputError):
    """The key is bound to other agents."""

    code = "agent_forbidden"


class ScopeForbidden(InputError):
    """The key may not search other agents' memories."""

    code = "scope_forbidden"


class SemanticForbidden(InputError):
    """The key may not change semantic memory."""

    code = "semantic_forbidden"


class RateLimited(InputError):
    """The key or the agent has sent more requests than it may. The header fields follow draft-
    ietf-httpapi-ratelimit-headers-10.
    """

    code = "rate_limited"


class QuotaReached(InputError):
    """The agent's memory is full: it has reached its quota."""

    code = "quota_reached"


class RecallUnknown(InputError):
    """The recall_id is not one of this service's, or it no longer counts."""

    code = "recall_unknown"


class DecisionUnknown(InputError):
    """No decision upon this recall is open."""

    code = "decision_unknown"


class DecisionConflict(InputError):
    """The decision, its arm or its outcome is known, and it is another one."""

    code = "decision_conflict"


class DecisionsFull(InputError):
    """The agent has as many open decisions as it may have."""

    code = "decisions_full"


class EvaluationUnknown(InputError):
    """There is no such evaluation, or it is another agent's."""

    code = "evaluation_unknown"


class HistoryTooLong(InputError):
    """The agent holds more memories than the service keeps a history of."""

    code = "history_too_long"


class StorageError(ServiceProblem):
    """Redis could not carry out the request."""


class StorageUnavailable(StorageError):
    """No Redis that can serve the request is reachable."""

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
    """Fewer replicas than `min-replicas-to-write` are connected, so the master refuses writes."""

    code = "too_few_replicas"


class DurabilityNotReached(StorageError):
    """The write may exist, but not at the requested durability. The same request may be
    repeated.
    """

    code = "durability_not_reached"


class DurabilityImpossible(DurabilityNotReached):
    """The requested level needs replicas and the service has none. Nothing was written."""


class SearchTimeout(StorageError):
    """The search itself takes too long. The cause is the question, not the node."""

    code = "search_timeout"


class StorageFull(StorageError):
    """Redis is at its memory limit and evicts nothing."""

    code = "storage_full"


class StorageUnwritable(StorageError):
    """Redis cannot write to its disk and refuses writes until it can."""

    code = "storage_unwritable"


class StorageFailed(StorageError):
    """Redis answered with an error that the service does not expect."""

    code = "storage_failed"


class Overloaded(ServiceProblem):
    """The service has more requests than it can handle right now."""

    code = "overloaded"


class AuditUnavailable(ServiceProblem):
    """The audit log cannot be written, so the action was not started, or its outcome is not
    confirmed.
    """

    code = "audit_unavailable"


class DeadlineExceeded(ServiceProblem):
    """The caller's deadline has passed, or would pass before the answer. A write may have
    happened.
    """

    code = "deadline_exceeded"


class TokenUnknown(ServiceProblem):
    """The token belongs to another history of the data: Redis was replaced or failed over."""

    code = "token_unknown"


class TokenNotReached(ServiceProblem):
    """No reachable node has the token's write yet."""

    code = "token_not_reached"


CLASSES: Final[dict[str, type[ServiceProblem]]] = {
    AgentForbidden.code: AgentForbidden,
    AnswerTooLarge.code: AnswerTooLarge,
    AuditUnavailable.code: AuditUnavailable,
    BodyTooLarge.code: BodyTooLarge,
    ContentConflict.code: ContentConflict,
    DeadlineExceeded.code: DeadlineExceeded,
    DecisionConflict.code: DecisionConflict,
    DecisionUnknown.code: DecisionUnknown,
    DecisionsFull.code: DecisionsFull,
    DurabilityNotReached.code: DurabilityNotReached,
    EvaluationUnknown.code: EvaluationUnknown,
    HistoryTooLong.code: HistoryTooLong,
    IndexRebuilding.code: IndexRebuilding,
    InvalidInput.code: InvalidInput,
    InvalidJson.code: InvalidJson,
    KeyInvalid.code: KeyInvalid,
    KeyMissing.code: KeyMissing,
    MemoryNotFound.code: MemoryNotFound,
    MetricFromTheFuture.code: MetricFromTheFuture,
    MetricNotFound.code: MetricNotFound,
    OutcomeConflict.code: OutcomeConflict,
    Overloaded.code: Overloaded,
    PositionLost.code: PositionLost,
    PromotionRefused.code: PromotionRefused,
    QualityConflict.code: QualityConflict,
    QuotaReached.code: QuotaReached,
    RateLimited.code: RateLimited,
    RecallUnknown.code: RecallUnknown,
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
