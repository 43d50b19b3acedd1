"""Every error that the service raises on purpose.

MemoryServiceError
├── InputError                    the request is wrong: correct it before you repeat it
│   ├── InvalidInput              422
│   ├── InvalidJson               422
│   ├── BodyTooLarge              413
│   ├── AnswerTooLarge            422
│   ├── MemoryNotFound            404
│   ├── ContentConflict           409
│   ├── QualityConflict           409
│   ├── OutcomeConflict           409
│   ├── PositionLost              410
│   ├── MetricNotFound            404
│   ├── MetricFromTheFuture       422
│   ├── PromotionRefused          409
│   ├── KeyMissing                401
│   ├── KeyInvalid                401
│   ├── RoleForbidden             403
│   ├── AgentForbidden            403
│   ├── ScopeForbidden            403
│   ├── SemanticForbidden         403
│   ├── RateLimited               429  retryable
│   ├── QuotaReached              507
│   ├── RecallUnknown             404
│   ├── DecisionUnknown           404
│   ├── DecisionConflict          409
│   ├── DecisionsFull             507
│   ├── EvaluationUnknown         404
│   ├── HistoryTooLong            422
│   ├── HeadInvalid               400
│   ├── HeadTooLarge              431
│   ├── HeadTooLate               408  retryable
│   ├── BodyTooLate               408
│   ├── MediaUnsupported          415
│   ├── HostUnknown               421
│   └── CrossSite                 403
├── StorageError                  Redis could not carry out the request
│   ├── StorageUnavailable        503  retryable
│   ├── StorageLoading            503  retryable
│   ├── IndexRebuilding           503  retryable
│   ├── StorageTimeout            504  retryable
│   ├── TooFewReplicas            503  retryable
│   ├── DurabilityNotReached      503  retryable
│   │   └── DurabilityImpossible  503
│   ├── SearchTimeout             504
│   ├── StorageFull               507
│   ├── StorageUnwritable         507  retryable
│   └── StorageFailed             500
├── Overloaded                    503  retryable
├── AuditUnavailable              503  retryable
├── TransferError                 an export or import cannot continue; never an HTTP answer
│   ├── UnfitFile
│   ├── TransferRefused
│   └── ExtraMissing
├── DeadlineExceeded              504  retryable
├── TokenUnknown                  409
├── TokenNotReached               503  retryable
├── StartError                    the service refuses to start; never an HTTP answer
│   ├── ConfigurationError
│   ├── EmbeddedRedisError
│   ├── DataFolderInUse
│   ├── AddressInUse
│   ├── QueryEngineMissing
│   └── IndexMismatch
├── TooManyConnections            503  retryable
└── McpMissing                    501

Each class has a stable `code`, an HTTP `status`, and says whether the same request may be sent
again (`retryable`). Its message is one sentence that tells the caller what to do. Errors about HTTP
itself, from HeadInvalid on, are in app/api/http_errors.py.
"""

from typing import ClassVar


class MemoryServiceError(Exception):
    """Base of the tree. `detail` is the sentence for the caller.

    A subclass passes its code, status, title, `retryable` and `may_have_happened` as class
    keywords; what it leaves out, it inherits.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False
    may_have_happened: ClassVar[bool] = False
    """Whether a write that failed with this error may have been carried out."""

    def __init_subclass__(
        cls,
        *,
        code: str | None = None,
        status: int | None = None,
        title: str | None = None,
        retryable: bool | None = None,
        may_have_happened: bool | None = None,
    ) -> None:
        super().__init_subclass__()
        given = {
            "code": code,
            "status": status,
            "title": title,
            "retryable": retryable,
            "may_have_happened": may_have_happened,
        }
        for name, value in given.items():
            if value is not None:
                setattr(cls, name, value)

    def __init__(
        self, detail: str, *, field: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.retry_after_s = retry_after_s

    def headers(self) -> dict[str, str]:
        """Return the HTTP headers that belong to the error."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}

    def problem(self) -> dict[str, object]:
        """Return the error as RFC 9457 problem details."""
        body: dict[str, object] = {
            "type": f"urn:coinswarm:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "retryable": self.retryable,
        }
        if self.field is not None:
            body["field"] = self.field
        return body


class InputError(MemoryServiceError):
    """The request cannot be carried out as it is."""


class InvalidInput(InputError, code="invalid_input", status=422, title="Invalid input"):
    """A field's value is not allowed. `field` names the field."""

    def __init__(
        self,
        detail: str,
        *,
        field: str | None = None,
        errors: list[dict[str, str]] | None = None,
    ) -> None:
        super().__init__(detail, field=field)
        self.errors = errors or ([{"field": field, "detail": detail}] if field else [])

    def problem(self) -> dict[str, object]:
        """Return the problem details, with every wrong field in `errors`."""
        return super().problem() | {"errors": self.errors}


class InvalidJson(InputError, code="invalid_json", status=422, title="Invalid JSON"):
    """The body is not JSON."""


class BodyTooLarge(InputError, code="body_too_large", status=413, title="Body too large"):
    """The body exceeds the limit in bytes."""


class AnswerTooLarge(InputError, code="answer_too_large", status=422, title="Answer too large"):
    """The answer would exceed the limit in bytes."""


class MemoryNotFound(InputError, code="memory_not_found", status=404, title="Memory not found"):
    """No memory has this id.

    `whole_since` (unix seconds): it may have been purged since the moment that was asked for.
    """

    def __init__(
        self, detail: str, *, field: str | None = None, whole_since: float | None = None
    ) -> None:
        super().__init__(detail, field=field)
        self.whole_since = whole_since

    def problem(self) -> dict[str, object]:
        """Return the problem details, and since when such questions are complete."""
        if self.whole_since is None:
            return super().problem()
        return super().problem() | {"partial": True, "whole_since": self.whole_since}


class ContentConflict(
    InputError, code="content_conflict", status=409, title="Other content under this id"
):
    """The id already belongs to a memory with different content."""


class QualityConflict(
    InputError, code="quality_conflict", status=409, title="Another quality is given"
):
    """The memory already has a different quality."""


class OutcomeConflict(
    InputError, code="outcome_conflict", status=409, title="Another outcome is known"
):
    """The memory was already closed with a different outcome."""


class PositionLost(InputError, code="position_lost", status=410, title="Position lost"):
    """The changes after this position are no longer kept, or a failover lost some of them."""


class MetricNotFound(InputError, code="metric_not_found", status=404, title="Metric not found"):
    """No learned distance has this id, or it is not the caller's to use."""


class MetricFromTheFuture(
    InputError, code="metric_from_the_future", status=422, title="Metric not known then"
):
    """The distance was learned from outcomes that were not known at the question's moment."""


class PromotionRefused(
    InputError, code="promotion_refused", status=409, title="Promotion not proven"
):
    """The evaluation does not prove that the distance helps on later data."""


class KeyMissing(InputError, code="key_missing", status=401, title="Key missing"):
    """The route needs a key and none was sent."""

    def headers(self) -> dict[str, str]:
        """Return the header that says how to authenticate (RFC 6750)."""
        return {"WWW-Authenticate": 'Bearer realm="coinswarm-memory"'}


class KeyInvalid(InputError, code="key_invalid", status=401, title="Key not valid"):
    """The key is unknown, revoked or expired; the answer does not say which."""

    def headers(self) -> dict[str, str]:
        """Return the header that says how to authenticate (RFC 6750)."""
        return {"WWW-Authenticate": 'Bearer realm="coinswarm-memory", error="invalid_token"'}


class RoleForbidden(InputError, code="role_forbidden", status=403, title="Role not enough"):
    """The key's role does not allow this route."""


class AgentForbidden(InputError, code="agent_forbidden", status=403, title="Not this agent's key"):
    """The key is bound to other agents."""


class ScopeForbidden(InputError, code="scope_forbidden", status=403, title="Scope not allowed"):
    """The key may not search other agents' memories."""


class SemanticForbidden(
    InputError, code="semantic_forbidden", status=403, title="Semantic memory is read-only here"
):
    """The key may not change semantic memory."""


class RateLimited(
    InputError, code="rate_limited", status=429, title="Too many requests", retryable=True
):
    """The key or the agent has sent more requests than it may.

    The header fields follow draft-ietf-httpapi-ratelimit-headers-10.
    """

    def __init__(self, policy: str, per_s: int) -> None:
        super().__init__(
            f"More than {per_s} requests a second for this {policy}: send fewer, or batches.",
            retry_after_s=1,
        )
        self._policy = policy
        self._per_s = per_s

    def headers(self) -> dict[str, str]:
        """Return when to retry, and the limit."""
        return super().headers() | {
            "RateLimit-Policy": f'"{self._policy}";q={self._per_s};w=1',
            "RateLimit": f'"{self._policy}";r=0;t={self.retry_after_s}',
        }


class QuotaReached(InputError, code="quota_reached", status=507, title="Quota reached"):
    """The agent's memory is full: it has reached its quota."""


class RecallUnknown(InputError, code="recall_unknown", status=404, title="No such recall"):
    """The recall_id is not one of this service's, or it no longer counts."""


class DecisionUnknown(
    InputError, code="decision_unknown", status=404, title="No such open decision"
):
    """No decision upon this recall is open."""


class DecisionConflict(
    InputError, code="decision_conflict", status=409, title="Different decision"
):
    """The decision, its arm or its outcome is known, and it is another one."""


class DecisionsFull(InputError, code="decisions_full", status=507, title="Too many open decisions"):
    """The agent has as many open decisions as it may have."""


class EvaluationUnknown(
    InputError, code="evaluation_unknown", status=404, title="No such evaluation"
):
    """There is no such evaluation, or it is another agent's."""


class HistoryTooLong(
    InputError, code="history_too_long", status=422, title="Too many memories to evaluate"
):
    """The agent holds more memories than the service keeps a history of."""


class StorageError(MemoryServiceError):
    """Redis could not carry out the request."""


class StorageUnavailable(
    StorageError,
    code="storage_unavailable",
    status=503,
    title="Storage unavailable",
    retryable=True,
    may_have_happened=True,
):
    """No Redis that can serve the request is reachable."""


class StorageLoading(
    StorageError, code="storage_loading", status=503, title="Storage loading", retryable=True
):
    """Redis is loading its data set."""


class IndexRebuilding(
    StorageError, code="index_rebuilding", status=503, title="Index rebuilding", retryable=True
):
    """The index was lost and is being rebuilt from the stored memories."""


class StorageTimeout(
    StorageError,
    code="storage_timeout",
    status=504,
    title="Storage timeout",
    retryable=True,
    may_have_happened=True,
):
    """Redis did not answer in time. A write may or may not have happened."""


class TooFewReplicas(
    StorageError, code="too_few_replicas", status=503, title="Too few replicas", retryable=True
):
    """Fewer replicas than `min-replicas-to-write` are connected, so the master refuses writes."""


class DurabilityNotReached(
    StorageError,
    code="durability_not_reached",
    status=503,
    title="Durability not reached",
    retryable=True,
    may_have_happened=True,
):
    """The write may exist, but not at the requested durability. The request may be repeated."""


class DurabilityImpossible(DurabilityNotReached, retryable=False, may_have_happened=False):
    """The requested level needs replicas and the service has none. Nothing was written."""


class SearchTimeout(StorageError, code="search_timeout", status=504, title="Search timeout"):
    """The search itself takes too long. The cause is the question, not the node."""


class StorageFull(StorageError, code="storage_full", status=507, title="Storage full"):
    """Redis is at its memory limit and evicts nothing."""


class StorageUnwritable(
    StorageError,
    code="storage_unwritable",
    status=507,
    title="Storage cannot write to its disk",
    retryable=True,
):
    """Redis cannot write to its disk and refuses writes until it can."""


class StorageFailed(StorageError, code="storage_failed", status=500, title="Storage failed"):
    """Redis answered with an error that the service does not expect."""


class Overloaded(
    MemoryServiceError, code="overloaded", status=503, title="Overloaded", retryable=True
):
    """The service has more requests than it can handle right now."""


class AuditUnavailable(
    MemoryServiceError,
    code="audit_unavailable",
    status=503,
    title="Audit log unavailable",
    retryable=True,
):
    """The audit log cannot be written. The action was not started, or is not confirmed."""


class TransferError(MemoryServiceError):
    """An export or an import cannot continue."""


class UnfitFile(TransferError, code="unfit_file", title="Unfit file"):
    """The file is damaged, unfinished, of another version, or does not match the settings."""


class TransferRefused(TransferError, code="transfer_refused", title="Transfer refused"):
    """The transfer would overwrite a file, or mix two exports in one."""


class ExtraMissing(TransferError, code="extra_missing", title="Package missing"):
    """An optional package that this needs is not installed."""


class DeadlineExceeded(
    MemoryServiceError,
    code="deadline_exceeded",
    status=504,
    title="Deadline exceeded",
    retryable=True,
    may_have_happened=True,
):
    """The deadline has passed, or would pass before the answer. A write may have happened."""


class TokenUnknown(
    MemoryServiceError, code="token_unknown", status=409, title="Token of another history"
):
    """The token belongs to another history of the data: Redis was replaced or failed over."""


class TokenNotReached(
    MemoryServiceError,
    code="token_not_reached",
    status=503,
    title="Write not reached yet",
    retryable=True,
):
    """No reachable node has the token's write yet."""


class StartError(MemoryServiceError, code="start_failed", title="Cannot start"):
    """The service cannot start as configured."""


class ConfigurationError(StartError, code="configuration_error"):
    """A setting is wrong."""


class EmbeddedRedisError(StartError, code="embedded_redis_failed"):
    """The embedded Redis is missing, does not fit this machine, or did not come up."""


class DataFolderInUse(StartError, code="data_folder_in_use"):
    """Another service is using the same data folder."""


class AddressInUse(StartError, code="address_in_use"):
    """Another program is listening on the address."""


class QueryEngineMissing(StartError, code="query_engine_missing"):
    """The configured Redis cannot run FT.SEARCH."""


class IndexMismatch(StartError, code="index_mismatch"):
    """An index exists with a dimension or schema that differs from the settings."""
