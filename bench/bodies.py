"""Requests as bytes, made before the clock runs."""

import base64
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from bench.data import Moments
from bench.recall import TOP_K

SEARCH = "/v1/episodic/search"
STORE = "/v1/episodic"
STORE_BATCH = "/v1/episodic/batch"

VectorForm = Literal["base64", "numbers"]


def encode_vector(vector: NDArray[np.float32], form: VectorForm = "base64") -> str | list[float]:
    """Encode a vector (d,) as the service takes it: base64 of little-endian float32, or a JSON
    array."""
    if form == "numbers":
        return [float(number) for number in vector]
    return base64.b64encode(vector.astype("<f4", copy=False).tobytes()).decode("ascii")


def memory(
    agent_id: str, memory_id: str, moments: Moments, row: int, form: VectorForm = "base64"
) -> dict[str, Any]:
    """Return one experience."""
    return {
        "id": memory_id,
        "agent_id": agent_id,
        "product_id": str(moments.products[row]),
        "regime": str(moments.regimes[row]),
        "state_vector": encode_vector(moments.vectors[row], form),
        "action": str(moments.actions[row]),
        "reward": float(moments.rewards[row]),
        "timestamp": float(moments.timestamps[row]),
    }


def search_bodies(
    agent_id: str, vectors: NDArray[np.float32], form: VectorForm = "base64"
) -> "SearchBodies":
    """Return bodies of searches by one agent, one for each of `vectors` (q, d)."""
    return SearchBodies(agent_id, [orjson.dumps(encode_vector(v, form)) for v in vectors])


class SearchBodies:
    """Bodies of one agent's searches. Put together when asked for: agents share the vectors."""

    def __init__(self, agent_id: str, encoded_vectors: list[bytes]) -> None:
        agent = orjson.dumps(agent_id)
        self._head = b'{"agent_id":' + agent + b',"top_k":' + str(TOP_K).encode() + b","
        self._vectors = encoded_vectors

    def __len__(self) -> int:
        return len(self._vectors)

    def of_agent(self, agent_id: str) -> "SearchBodies":
        """Return the same questions by another agent."""
        return SearchBodies(agent_id, self._vectors)

    def __getitem__(self, question: int) -> bytes:
        return self._head + b'"state_vector":' + self._vectors[question] + b"}"
