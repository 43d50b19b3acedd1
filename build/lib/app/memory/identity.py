"""What a memory is called, and how the same one is told from another."""

import hashlib
import uuid
from collections.abc import Mapping, Sequence

import numpy as np
import orjson
from pydantic import BaseModel

DIGEST_BYTES = 16
MAX_EXACT = 2**53
"""Beyond, not every whole number is a float."""

_NEGATIVE_ZERO = b"\x00\x00\x00\x80"


def new_id() -> str:
    """An id that nobody else has."""
    return uuid.uuid4().hex


def id_from_idempotency_key(key: str, owner: str) -> str:
    """The id of what this owner stores under this `Idempotency-Key`: always the same one."""
    return hashlib.blake2b(f"{owner}\0{key}".encode(), digest_size=DIGEST_BYTES).hexdigest()


def digest_of(request: BaseModel, vector_fields: tuple[str, ...]) -> bytes:
    """Return a hash of what the caller sent, however it was written.

    `vector_fields` in order of the alphabet. A field that holds its default counts as left out, and
    fields that were left out do not count: what the service put in their place (the time of
    storing) differs from one try to the next. Numbers count by their value: 1 is 1.0, and 0 is -0.
    """
    fields, values = type(request).model_fields, vars(request)
    sent = {}
    for name in request.model_fields_set:
        value = values[name]
        if name == "id" or name in vector_fields:
            continue
        if value != fields[name].get_default(call_default_factory=True):
            # A number of the request is a float already, one in its metadata may be an int.
            sent[name] = value + 0.0 if isinstance(value, float) else _canonical(value)
    digest = hashlib.blake2b(orjson.dumps(sent, option=orjson.OPT_SORT_KEYS), digest_size=16)
    for name in vector_fields:
        vector = values[name]
        if vector is not None:
            digest.update(name.encode() + _without_negative_zeros(vector))
    return digest.digest()


def _canonical(value: object) -> object:
    """Return JSON with each whole number as an int, up to MAX_EXACT."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= MAX_EXACT else value
    if isinstance(value, int) and abs(value) > MAX_EXACT:
        return float(value) if int(float(value)) == value else value
    if isinstance(value, Mapping):
        return {name: _canonical(inner) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_canonical(inner) for inner in value]
    return value


def _without_negative_zeros(vector: bytes) -> bytes:
    """Return the same float32 numbers, each -0.0 as 0.0."""
    if _NEGATIVE_ZERO not in vector:
        return vector
    return (np.frombuffer(vector, "<f4") + np.float32(0)).astype("<f4").tobytes()
