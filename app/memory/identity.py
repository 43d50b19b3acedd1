"""What a memory is called, and how the same one is told from another."""

import hashlib
import uuid

import orjson
from pydantic import BaseModel

DIGEST_BYTES = 16


def new_id() -> str:
    """An id that nobody else has."""
    return uuid.uuid4().hex


def id_from_idempotency_key(key: str, owner: str) -> str:
    """The id of what this owner stores under this `Idempotency-Key`: always the same one."""
    return hashlib.blake2b(f"{owner}\0{key}".encode(), digest_size=DIGEST_BYTES).hexdigest()


def digest_of(request: BaseModel, vector_fields: tuple[str, ...]) -> bytes:
    """A hash of what the caller sent, whichever way its vectors were written.

    `vector_fields` in order of the alphabet. Fields that were left out do not count: what the
    service put in their place (the time of storing) differs from one try to the next.
    """
    given, values = request.model_fields_set, vars(request)
    sent = {
        name: value
        for name, value in values.items()
        if name in given and name != "id" and name not in vector_fields
    }
    digest = hashlib.blake2b(orjson.dumps(sent, option=orjson.OPT_SORT_KEYS), digest_size=16)
    for name in vector_fields:
        if name in given:
            digest.update(name.encode() + (values[name] or b""))
    return digest.digest()
