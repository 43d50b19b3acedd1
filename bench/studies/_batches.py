"""Batches of memories as request bodies, and how one is sent."""

import base64
import socket
from typing import Any

import numpy as np
import orjson

from bench.load.closed_loop import HttpRequest, post

DIMENSION = 256
BATCH = 1000
SEED = 20260101
ANSWER_TIMEOUT_S = 60.0


def agent_name(number: int) -> str:
    """Return the name of the benchmark's agent of this number."""
    return f"agent_{number}"


def random_vectors(seed: int, count: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Return random vectors of shape (count, DIMENSION), little-endian float32."""
    return np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype("<f4")


def as_base64(vector: "np.ndarray[Any, np.dtype[np.float32]]") -> str:
    """Return a vector in the compact form of the contract."""
    return base64.b64encode(vector.tobytes()).decode("ascii")


def memory(agent: str, number: int, vector: object) -> dict[str, object]:
    """Return a closed memory with every common field but an id."""
    return {
        "agent_id": agent,
        "product_id": f"COIN{number % 20}-USD",
        "regime": ("bull", "bear", "flat")[number % 3],
        "state_vector": vector,
        "action": ("buy", "sell", "hold")[number % 3],
        "reward": (number % 200 - 100) / 7000,
        "timestamp": 1767225600.0 + number,
        "outcome_at": 1767312000.0 + number,
        "metadata": {"strategy": "trend", "step": number},
    }


def batch_request(
    agent: str,
    *,
    seed: int,
    ids: str | None,
    as_array: bool = False,
    with_next: bool = False,
    count: int = BATCH,
) -> HttpRequest:
    """Return a POST of `count` random memories of one agent; their ids begin with `ids`.

    `with_next`: each has a `next_state_vector` as well.
    """
    following = random_vectors(seed + 1, count) if with_next else None
    memories = []
    for number, vector in enumerate(random_vectors(seed, count)):
        item = memory(agent, number, vector.tolist() if as_array else as_base64(vector))
        if following is not None:
            item["next_state_vector"] = as_base64(following[number])
        memories.append(item if ids is None else item | {"id": f"{ids}-{number}"})
    return post("/v1/episodic/batch", orjson.dumps({"memories": memories}), kind="batch")


def connect(port: int) -> socket.socket:
    """Open a connection to the service; the caller closes it."""
    return socket.create_connection(("127.0.0.1", port), timeout=ANSWER_TIMEOUT_S)


def store_batch(connection: socket.socket, request: HttpRequest, *, created: int = BATCH) -> None:
    """Send a batch and wait for its answer. Raises RuntimeError unless all of it was created."""
    answer = orjson.loads(answer_to(connection, request))
    if answer.get("created") != created:
        raise RuntimeError(f"a batch was not stored whole: {str(answer)[:500]}")


def answer_to(connection: socket.socket, request: HttpRequest) -> bytes:
    """Send a request and return the body of its answer. Raises RuntimeError if none comes."""
    connection.sendall(request.wire)
    received = b""
    while (head_end := received.find(b"\r\n\r\n")) < 0:
        received += _more(connection)
    start = received.index(b"content-length: ") + 16
    length = int(received[start : received.index(b"\r", start)])
    parts, missing = [received[head_end + 4 :]], head_end + 4 + length - len(received)
    while missing > 0:
        parts.append(_more(connection))
        missing -= len(parts[-1])
    return b"".join(parts)


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(262_144)
    if not data:
        raise RuntimeError("the service closed the connection")
    return data
