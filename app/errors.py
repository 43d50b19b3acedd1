"""Every error that the service raises on purpose.

MemoryServiceError
├── InputError                      the caller's request is wrong: repeat it only when mended
│   ├── InvalidInput            422
│   ├── InvalidJson             422
│   ├── BodyTooLarge            413
│   ├── AnswerTooLarge          422
│   ├── MediaUnsupported        415
│   ├── HostUnknown             421
│   ├── CrossSite               403
│   ├── HeadInvalid             400
│   ├── HeadTooLarge            431
│   ├── HeadTooLate             408  retryable
│   ├── BodyTooLate             408
│   ├── MemoryNotFound          404
│   ├── ContentConflict         409
│   ├── QualityConflict         409
│   ├── OutcomeConflict         409
│   ├── PositionLost            410
│   ├── KeyMissing              401
│   ├── KeyInvalid              401
│   ├── RoleForbidden           403
│   ├── AgentForbidden          403
│   ├── ScopeForbidden          403
│   ├── SemanticForbidden       403
│   ├── RateLimited             429  retryable
│   └── QuotaReached            507
├── StorageError                    Redis could not do it
│   ├── StorageUnavailable      503  retryable
│   ├── StorageLoading          503  retryable
│   ├── IndexRebuilding         503  retryable
│   ├── StorageTimeout          504  retryable
│   ├── TooFewReplicas          503  retryable
│   ├── DurabilityNotReached    503  retryable
│   │   └── DurabilityImpossible    503
│   ├── SearchTimeout           504
│   ├── StorageFull             507
│   ├── StorageUnwritable       507  retryable
│   └── StorageFailed           500
├── Overloaded                  503  retryable
├── TooManyConnections          503  retryable
├── AuditUnavailable            503  retryable
├── TransferError                   an export or import cannot go on; never an HTTP answer
│   ├── UnfitFile
│   ├── TransferRefused
│   └── ExtraMissing


├── DeadlineExceeded            504  retryable
├── TokenUnknown                409
├── TokenNotReached             503  retryable
└── StartError                      the service refuses to start; never an HTTP answer
    ├── ConfigurationError
    ├── EmbeddedRedisError
    ├── DataFolderInUse
    ├── AddressInUse
    ├── QueryEngineMissing
    └── IndexMismatch

Each class has a stable `code`, an HTTP `status` and says whether the same request may be sent
again (`retryable`). Its message is one sentence that tells the caller what to do.
"""

from typing import ClassVar


class MemoryServiceError(Exception):
    """Base of the tree. `detail` is the sentence for the caller."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False
    may_have_happened: ClassVar[bool] = False
    """Whether a write that ends so may have been carried out."""

    def __init__(
        self, detail: str, *, field: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.retry_after_s = retry_after_s

    def headers(self) -> dict[str, str]:
        """HTTP headers that belong to the error."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}

    def problem(self) -> dict[str, object]:
        """The error as RFC 9457 problem details."""
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


class InvalidInput(InputError):
    """A field's value is not allowed. `field` names it."""

    code = "invalid_input"
    status = 422
    title = "Invalid input"

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
        """Problem details, with every wrong field in `errors`."""
        return super().problem() | {"errors": self.errors}


class InvalidJson(InputError):
    """The body is not JSON."""

    code = "invalid_json"
    status = 422
    title = "Invalid JSON"


class BodyTooLarge(InputError):
    """The body exceeds the limit in bytes."""

    code = "body_too_large"
    status = 413
    title = "Body too large"


class AnswerTooLarge(InputError):
    """The answer would exceed the limit in bytes."""

    code = "answer_too_large"
    status = 422
    title = "Answer too large"


class MemoryNotFound(InputError):
    """There is no memory under this id."""

    code = "memory_not_found"
    status = 404
    title = "Memory not found"


class ContentConflict(InputError):
    """The id already holds a memory with other content."""

    code = "content_conflict"
    status = 409
    title = "Other content under this id"


class QualityConflict(InputError):
    """The memory has another quality already."""

    code = "quality_conflict"
    status = 409
    title = "Another quality is given"


class OutcomeConflict(InputError):
    """The memory is already closed with another outcome."""

    code = "outcome_conflict"
    status = 409
    title = "Another outcome is known"


class PositionLost(InputError):
    """Changes after this position are not kept any more, or a failover lost some that it saw."""

    code = "position_lost"
    status = 410
    title = "Position lost"


class KeyMissing(InputError):
    """No key was given, and the route asks for one."""

    code = "key_missing"
    status = 401
    title = "Key missing"

    def headers(self) -> dict[str, str]:
        """How to authenticate (RFC 6750)."""
        return {"WWW-Authenticate": 'Bearer realm="coinswarm-memory"'}


class KeyInvalid(InputError):
    """The key is unknown, revoked or past its time: which of these is not told."""

    code = "key_invalid"
    status = 401
    title = "Key not valid"

    def headers(self) -> dict[str, str]:
        """How to authenticate (RFC 6750)."""
        return {"WWW-Authenticate": 'Bearer realm="coinswarm-memory", error="invalid_token"'}


class RoleForbidden(InputError):
    """The key's role is not enough for the route."""

    code = "role_forbidden"
    status = 403
    title = "Role not enough"


class AgentForbidden(InputError):
    """The key is bound to other agents."""

    code = "agent_forbidden"
    status = 403
    title = "Not this agent's key"


class ScopeForbidden(InputError):
    """The key may not ask other agents' memories."""

    code = "scope_forbidden"
    status = 403
    title = "Scope not allowed"


class SemanticForbidden(InputError):
    """The key may not change semantic memory."""

    code = "semantic_forbidden"
    status = 403
    title = "Semantic memory is read-only here"


class RateLimited(InputError):
    """More requests than the key, or the agent, may send. Draft names of the header fields:
    draft-ietf-httpapi-ratelimit-headers-10."""

    code = "rate_limited"
    status = 429
    title = "Too many requests"
    retryable = True

    def __init__(self, policy: str, per_s: int) -> None:
        super().__init__(
            f"More than {per_s} requests a second for this {policy}: send fewer, or batches.",
            retry_after_s=1,
        )
        self._policy = policy
        self._per_s = per_s

    def headers(self) -> dict[str, str]:
        """When to come again, and what the limit is."""
        return super().headers() | {
            "RateLimit-Policy": f'"{self._policy}";q={self._per_s};w=1',
            "RateLimit": f'"{self._policy}";r=0;t={self.retry_after_s}',
        }


class QuotaReached(InputError):
    """The agent's memory holds as much as it may."""

    code = "quota_reached"
    status = 507
    title = "Quota reached"


class StorageError(MemoryServiceError):
    """Redis could not do what was asked."""


class StorageUnavailable(StorageError):
    """No connection to a Redis that can do this."""

    code = "storage_unavailable"
    status = 503
    title = "Storage unavailable"
    retryable = True
    may_have_happened = True


class StorageLoading(StorageError):
    """Redis is loading its data set."""

    code = "storage_loading"
    status = 503
    title = "Storage loading"
    retryable = True


class IndexRebuilding(StorageError):
    """The index was lost and is being rebuilt from the stored memories."""

    code = "index_rebuilding"
    status = 503
    title = "Index rebuilding"
    retryable = True


class StorageTimeout(StorageError):
    """Redis did not answer in time. A write may or may not have happened."""

    code = "storage_timeout"
    status = 504
    title = "Storage timeout"
    retryable = True
    may_have_happened = True


class TooFewReplicas(StorageError):
    """The master follows its orders not to take writes while too few replicas are in reach."""

    code = "too_few_replicas"
    status = 503
    title = "Too few replicas"
    retryable = True


class DurabilityNotReached(StorageError):
    """The write may exist, but not as safely as was asked for. The same request may be repeated."""

    code = "durability_not_reached"
    status = 503
    title = "Durability not reached"
    retryable = True
    may_have_happened = True


class DurabilityImpossible(DurabilityNotReached):
    """The level needs replicas, and the service has none. Nothing was written."""

    retryable = False
    may_have_happened = False


class SearchTimeout(StorageError):
    """The search itself takes too long. That is the question's doing, not the node's."""

    code = "search_timeout"
    status = 504
    title = "Search timeout"


class StorageFull(StorageError):
    """Redis is at its memory limit and evicts nothing."""

    code = "storage_full"
    status = 507
    title = "Storage full"


class StorageUnwritable(StorageError):
    """Redis cannot write to its disk and takes no writes until it can again."""

    code = "storage_unwritable"
    status = 507
    title = "Storage cannot write to its disk"
    retryable = True


class StorageFailed(StorageError):
    """Redis answered with an error that the service does not expect."""

    code = "storage_failed"
    status = 500
    title = "Storage failed"


class Overloaded(MemoryServiceError):
    """More requests than the service can carry right now."""

    code = "overloaded"
    status = 503
    title = "Overloaded"
    retryable = True


class AuditUnavailable(MemoryServiceError):
    """What is done cannot be written down, so it is not done, or not known to be done."""

    code = "audit_unavailable"
    status = 503
    title = "Audit log unavailable"
    retryable = True


class TransferError(MemoryServiceError):
    """An export or an import cannot go on."""


class UnfitFile(TransferError):
    """The file is damaged, unfinished, of another version, or does not fit the settings."""

    code = "unfit_file"
    title = "Unfit file"


class TransferRefused(TransferError):
    """What was asked would overwrite a file, or mix two exports in one."""

    code = "transfer_refused"
    title = "Transfer refused"


class ExtraMissing(TransferError):
    """A package that this needs is not installed."""

    code = "extra_missing"
    title = "Package missing"


class DeadlineExceeded(MemoryServiceError):
    """The caller's time is over, or would be before the answer. A write may have happened."""

    code = "deadline_exceeded"
    status = 504
    title = "Deadline exceeded"
    retryable = True
    may_have_happened = True


class TokenUnknown(MemoryServiceError):
    """The token is of another history of the data: Redis was replaced or failed over."""

    code = "token_unknown"
    status = 409
    title = "Token of another history"


class TokenNotReached(MemoryServiceError):
    """No node in reach has the token's write yet."""

    code = "token_not_reached"
    status = 503
    title = "Write not reached yet"
    retryable = True


class StartError(MemoryServiceError):
    """The service cannot start as configured."""

    code = "start_failed"
    title = "Cannot start"


class ConfigurationError(StartError):
    """A setting is wrong."""

    code = "configuration_error"


class EmbeddedRedisError(StartError):
    """The embedded Redis is missing, does not fit this machine, or did not come up."""

    code = "embedded_redis_failed"


class DataFolderInUse(StartError):
    """Another service works on the same data folder."""

    code = "data_folder_in_use"


class AddressInUse(StartError):
    """Another program listens on the address."""

    code = "address_in_use"


class QueryEngineMissing(StartError):
    """The Redis that was given cannot run FT.SEARCH."""

    code = "query_engine_missing"


class IndexMismatch(StartError):
    """An index exists with another dimension or schema than the settings ask for."""

    code = "index_mismatch"
