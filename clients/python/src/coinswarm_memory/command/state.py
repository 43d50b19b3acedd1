"""The state that a question is about, as a terminal can give it."""

import binascii
import io
import sys
from pathlib import Path

import msgspec
import numpy as np

from coinswarm_memory import Agent
from coinswarm_memory.encode.vectors import Float32Array
from coinswarm_memory.errors import InvalidVector

_NUMPY = b"\x93NUMPY"


def state_of(agent: Agent, file: Path | None, like: str | None) -> Float32Array:
    """Return the state in a file, or that of the agent's experience `like`.

    A file holds a `.npy` array, a JSON array, or base64 of little-endian float32; `-` is the input.
    Raises InvalidVector, OSError, ServiceProblem.
    """
    if (file is None) == (like is None):
        raise InvalidVector(
            "say what the question is about: --state FILE or --like ID, one of them"
        )
    if like is not None:
        found = agent.get(like).state
        assert found is not None
        return found
    assert file is not None
    body = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    return _numbers(body, str(file))


def _numbers(body: bytes, name: str) -> Float32Array:
    try:
        if body.startswith(_NUMPY):
            return np.load(io.BytesIO(body), allow_pickle=False).astype(np.float32)  # type: ignore[no-any-return]
        if body.lstrip().startswith(b"["):
            return np.array(msgspec.json.decode(body, type=list[float]), np.float32)
        joined = b"".join(body.split())
        return np.frombuffer(binascii.a2b_base64(joined, strict_mode=True), "<f4")
    except (ValueError, msgspec.MsgspecError) as error:
        raise InvalidVector(
            f"{name} holds no state ({error}): give a .npy file, a JSON array or base64 of float32"
        ) from error
