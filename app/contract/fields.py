"""The field types of requests, with their bounds and checks."""

import math
from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
)
from pydantic_core import CoreSchema, core_schema

from app import vectors

MAX_TAG_CHARACTERS = 128
MAX_FILTER_VALUES = 100
MAX_METADATA_BYTES = 16 * 1024
MAX_WHOLE = 2**53 - 1
"""The largest whole number that every reader of JSON takes exactly (RFC 8259, section 6)."""

# Unix seconds up to the year 5138, so that milliseconds, the usual mistake, are refused.
MAX_TIME_S = 1e11


_TAG_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f]+$"
_NO_CONTROLS = r"[^\u0000-\u001f\u007f-\u009f]"
_NO_BRACES = r"[^{}\u0000-\u001f\u007f-\u009f]"
# HTTP clients remove `.` and `..` from paths (RFC 3986, section 5.2.4), so a name needs a character
# that is not a dot.
_ID_PATTERN = rf"^{_NO_CONTROLS}*[^.\u0000-\u001f\u007f-\u009f]{_NO_CONTROLS}*$"
_AGENT_PATTERN = rf"^{_NO_BRACES}+$"
_NEW_AGENT_PATTERN = rf"^{_NO_BRACES}*[^.{{}}\u0000-\u001f\u007f-\u009f]{_NO_BRACES}*$"
_CONSISTENCY_PATTERN = r"^(eventual|strong|[0-9a-f]{40}:[0-9]{1,20})$"

BASE64_PATTERN = r"^[A-Za-z0-9+/]+={0,2}$"

PATTERN_SENTENCES = {
    _TAG_PATTERN: "must hold no control characters",
    _ID_PATTERN: "must hold no control characters and not only dots: no path can name that",
    _AGENT_PATTERN: "must hold neither braces nor control characters",
    _NEW_AGENT_PATTERN: "must hold neither braces nor control characters, and not only dots: no "
    "path can name that",
    _CONSISTENCY_PATTERN: "must be eventual, strong, or the token of a write",
}
"""What a caller reads in place of a regular expression."""


class _VectorType:
    """Accepts an array of numbers or base64; yields little-endian float32 bytes."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        numbers = core_schema.list_schema(
            core_schema.float_schema(allow_inf_nan=False, strict=True), min_length=1
        )

        def parse(
            value: object, validate_numbers: core_schema.ValidatorFunctionWrapHandler
        ) -> bytes:
            if isinstance(value, str):
                return vectors.from_base64(value)
            if isinstance(value, bytes):  # of a column; JSON has none
                return vectors.check(value)
            if not isinstance(value, list):
                raise ValueError("should be an array of numbers, or base64")  # noqa: TRY004 - as pydantic expects
            return vectors.pack(validate_numbers(value))

        return core_schema.no_info_wrap_validator_function(
            parse,
            numbers,
            json_schema_input_schema=core_schema.union_schema(
                [numbers, core_schema.str_schema(pattern=BASE64_PATTERN)]
            ),
        )


class _OneSentence:
    """Makes a union say one sentence instead of one for each of its types, and name the field
    alone."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence

    def __get_pydantic_core_schema__(
        self, union: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._check, handler(union))

    def _check(self, value: object, check: core_schema.ValidatorFunctionWrapHandler) -> object:
        try:
            return check(value)
        except ValidationError as error:
            raise ValueError(self._sentence) from error


def _one_to_list(value: object) -> object:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise ValueError("should be a string or an array of strings")  # noqa: TRY004 - as pydantic expects
    return value


def _only_json_values(metadata: dict[str, Any]) -> dict[str, Any]:
    pending: list[Any] = [metadata]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError("must not hold NaN or infinity")
    try:
        size_bytes = len(orjson.dumps(metadata))
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise ValueError(f"must be JSON with integers of at most 64 bits: {error}") from error
    if size_bytes > MAX_METADATA_BYTES:
        raise ValueError(f"may hold {MAX_METADATA_BYTES} bytes as JSON, got {size_bytes}")
    return metadata


Vector = Annotated[
    bytes,
    _VectorType,
    Field(
        description="As many numbers as the service's dimension, as an array or as base64 of "
        "little-endian float32. They must be finite and not all zero. If the service stores "
        "float16, they must fit its range (-65504 to 65504, and not round to zero)."
    ),
]
Tag = Annotated[str, Field(min_length=1, max_length=MAX_TAG_CHARACTERS, pattern=_TAG_PATTERN)]
MemoryId = Annotated[str, Field(min_length=1, max_length=MAX_TAG_CHARACTERS, pattern=_ID_PATTERN)]
RESERVED_IDS = frozenset({"changes", "map", "snapshot"})
"""`GET /v1/episodic/{agent_id}/NAME` is a view of the whole memory: no memory of this id could be
read there."""


def _readable_by_id(memory_id: str) -> str:
    if memory_id in RESERVED_IDS:
        raise ValueError(
            f"must not be {memory_id}, which names a view of the whole memory in addresses: "
            "choose another id"
        )
    return memory_id


NewMemoryId = Annotated[MemoryId, AfterValidator(_readable_by_id)]
"""For stores only: what a former release stored can still be changed and deleted."""
AgentId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_TAG_CHARACTERS,
        pattern=_AGENT_PATTERN,
        description="The agent whose memory this is. Case-sensitive; no braces.",
    ),
]
NewAgentId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_TAG_CHARACTERS,
        pattern=_NEW_AGENT_PATTERN,
        description="The agent whose memory this is. Case-sensitive; no braces, and not only dots.",
    ),
]
"""For stores only: the longer pattern would cost each search a microsecond."""
TagList = Annotated[
    list[Tag],
    Field(min_length=1, max_length=MAX_FILTER_VALUES),
    BeforeValidator(_one_to_list, json_schema_input_type=Tag | list[Tag]),
]
Horizon = Annotated[
    Annotated[str, Field(min_length=1, max_length=MAX_TAG_CHARACTERS, pattern=_TAG_PATTERN)]
    | Annotated[float, Field(gt=0, allow_inf_nan=False)],
    _OneSentence(
        f"should be a number above 0, or a name of 1 to {MAX_TAG_CHARACTERS} characters without "
        "control characters"
    ),
    Field(
        description="How far ahead an outcome is: a name such as 5d, or a number in your own unit."
    ),
]
Scale = Annotated[
    float,
    Field(
        gt=0,
        allow_inf_nan=False,
        description="How large moves were then, such as the volatility: above 0, in one unit for "
        "all memories.",
    ),
]
Quality = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="The owner's rating, 0 to 1. Given once, with the memory or later.",
    ),
]
Priority = Annotated[
    float,
    Field(
        ge=0,
        allow_inf_nan=False,
        description="The weight in a prioritized sample. Unset: the absolute value of the reward.",
    ),
]
Step = Annotated[int, Field(ge=0, le=MAX_WHOLE, description="Position in its episode, from 0.")]
WinRate = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
MetricName = Annotated[
    str, Field(min_length=1, max_length=MAX_TAG_CHARACTERS + 16, pattern=_AGENT_PATTERN)
]
UnixTime = Annotated[
    float,
    Field(allow_inf_nan=False, ge=-MAX_TIME_S, le=MAX_TIME_S, description="Unix seconds, UTC."),
]
AsOf = Annotated[
    float,
    Field(
        allow_inf_nan=False,
        ge=-MAX_TIME_S,
        le=MAX_TIME_S,
        description="Unix seconds. The question sees only what was known then: no later state "
        "or outcome, no open memory, no later change. For backtests.",
    ),
]
Metadata = Annotated[
    dict[str, Any],
    AfterValidator(_only_json_values),
    Field(description="Any JSON object; returned exactly as given."),
]
Pinned = Annotated[bool, Field(description="Retention never removes a pinned memory.")]
MemoryType = Literal["PATTERN", "REGIME", "STRATEGY"]
MemoryTypeList = Annotated[
    list[MemoryType],
    Field(min_length=1),
    BeforeValidator(_one_to_list, json_schema_input_type=MemoryType | list[MemoryType]),
]
Cursor = Annotated[
    str, Field(min_length=1, max_length=512, description="The previous page's `next_cursor`.")
]
SampleCursor = Annotated[
    str, Field(min_length=1, max_length=8192, description="The previous page's `next_cursor`.")
]
Consistency = Annotated[
    str,
    Field(
        pattern=_CONSISTENCY_PATTERN,
        description="eventual: any healthy node. strong: the master. A write's `token`: a node "
        "that has that write.",
    ),
]


class Request(BaseModel):
    """A request body: strict types, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


WHOLE_SINCE = (
    "Only with an `as_of` earlier than this moment (unix seconds): what had retired by then was "
    "purged, so that the answer may lack some of it."
)


class PastAnswer(BaseModel):
    """An answer that may lack what was purged of the past that is asked for."""

    partial: bool = Field(description="True if some of it was purged: see `whole_since`.")
    whole_since: float | None = Field(None, description=WHOLE_SINCE)
