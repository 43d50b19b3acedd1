"""Stores a workload through the service, and says how long that took."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import httpx
import orjson

from bench.bodies import STORE_BATCH, memory
from bench.data import Workload
from demo.client_key import key_headers

BATCH = 500
IN_FLIGHT = 2
"""One batch is encoded while the service works on another."""

GROUP = 40
"""Batches made at a time: all of a large workload as JSON would fill the memory."""

ATTEMPTS = 12
LONGEST_PAUSE_S = 5.0
_TIMEOUT_S = 120.0

# Locust shows every library's log: a line for each batch.
logging.getLogger("httpx").setLevel(logging.WARNING)


class FillError(Exception):
    """The service did not store everything; the message says what it answered."""


@dataclass(frozen=True, slots=True)
class FillReport:
    """`memories` were confirmed in `seconds`; `created` of them were not there before.

    `retries`: how often the service answered that it is busy and the batch came again.
    """

    memories: int
    created: int
    seconds: float
    retries: int = 0

    @property
    def rate(self) -> float:
        """Memories a second."""
        return self.memories / self.seconds if self.seconds else 0.0


def fill(
    url: str,
    workload: Workload,
    on_progress: Callable[[int], object],
    *,
    ids: Sequence[Sequence[str]] | None = None,
) -> FillReport:
    """Store everything. Storing it again doubles nothing: ids are `ids[agent][row]` or the rows.

    `on_progress` hears how many memories a finished batch held. Raises FillError.
    """
    started = time.perf_counter()
    with (
        httpx.Client(
            base_url=url, headers=key_headers(), timeout=_TIMEOUT_S, trust_env=False
        ) as client,
        ThreadPoolExecutor(IN_FLIGHT) as threads,
    ):

        def send(batch: tuple[int, bytes]) -> tuple[int, int]:
            answer = _send(client, *batch)
            on_progress(batch[0])
            return answer

        created = retries = 0
        batches = _batches(workload, ids)
        while group := list(islice(batches, GROUP)):
            for new, again in threads.map(send, group):
                created, retries = created + new, retries + again
    return FillReport(workload.total, created, time.perf_counter() - started, retries)


def _send(client: httpx.Client, count: int, body: bytes) -> tuple[int, int]:
    """Return how many memories were created, and how often the service said to retry."""
    for attempt in range(ATTEMPTS):
        try:
            response = client.post(
                STORE_BATCH, content=body, headers={"Content-Type": "application/json"}
            )
        except httpx.TransportError as error:
            raise FillError(f"No answer from {client.base_url}: {error}") from error
        problem = _problem(response, count)
        if problem is None:
            results = response.json()["results"]
            return sum(result["status"] == "created" for result in results), attempt
        if not problem.get("retryable"):
            break
        time.sleep(min(LONGEST_PAUSE_S, 0.1 * 2**attempt))
    raise FillError(f"The service did not store every memory: {problem}")


def _problem(response: httpx.Response, count: int) -> dict[str, object] | None:
    """Return what went wrong with the batch or one of its memories; None if nothing did."""
    try:
        answer = response.json()
    except ValueError:
        return {"status": response.status_code, "detail": response.text[:300]}
    if not response.is_success:
        return dict(answer)
    results = answer["results"]
    if len(results) != count:
        return {"detail": f"{len(results)} results for {count} memories"}
    return next((dict(r["error"]) for r in results if r["status"] == "error"), None)


def _batches(
    workload: Workload, ids: Sequence[Sequence[str]] | None
) -> Iterator[tuple[int, bytes]]:
    """Yield batches in turns over the agents, as a swarm would store."""
    longest = max(len(moments) for moments in workload.stored)
    each = max(1, min(BATCH, longest))
    for start in range(0, longest, each):
        for agent, (agent_id, moments) in enumerate(
            zip(workload.agent_ids, workload.stored, strict=True)
        ):
            rows = range(start, min(start + each, len(moments)))
            if rows:
                names = ids[agent] if ids else range(len(moments))
                memories = [memory(agent_id, str(names[row]), moments, row) for row in rows]
                yield len(memories), orjson.dumps({"memories": memories})
