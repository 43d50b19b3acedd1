"""Keeps every request that Locust reports, in full resolution.

Locust's own table rounds a response time to two digits, whole milliseconds from 10 on.
"""

import gc
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.processor_time import ProcessorClock
from bench.samples import (
    MAX_ANSWERS,
    RawAnswer,
    Request,
    Samples,
    parse_answers,
    write_samples,
)


class Recorder:
    """Listens to Locust's request event from `begin` to `end`."""

    def __init__(self, watched: Mapping[str, list[int]], *, keep_answers: bool) -> None:
        self._clock = ProcessorClock(watched)
        self._max_answers = MAX_ANSWERS if keep_answers else 0
        self._started_at = 0.0
        self._is_on = False
        self._requests: list[Request] = []
        self._answers: list[RawAnswer] = []
        self._failures: Counter[str] = Counter()
        self._samples = Samples()

    def begin(self) -> None:
        """Start the clock; what was recorded before is dropped."""
        # The bodies made beforehand would be walked by every full collection.
        gc.collect()
        gc.freeze()
        self._requests.clear()
        self._answers.clear()
        self._failures.clear()
        self._is_on = True
        self._started_at = time.perf_counter()
        self._clock.start()

    def end(self) -> None:
        """Stop the clock."""
        if self._is_on:
            self._is_on = False
            self._samples.processor = self._clock.stop()
            gc.unfreeze()

    def on_request(
        self,
        response_time: float,
        response: Any,
        context: Mapping[str, Any],
        exception: Exception | None,
        **_: Any,
    ) -> None:
        """Record a request that Locust reports, if its context has a `kind`."""
        if not self._is_on or "kind" not in context:
            return
        done_ms = (time.perf_counter() - self._started_at) * 1000
        sent_ms = done_ms - response_time
        if exception is not None:
            self._failures[f"{getattr(response, 'status_code', 0)} {type(exception).__name__}"] += 1
        elif context.get("is_search") and len(self._answers) < self._max_answers:
            self._answers.append(RawAnswer(len(self._requests), response.content))
        self._requests.append(
            Request(
                kind=context["kind"],
                agent=context["agent"],
                item=context["item"],
                due_ms=sent_ms,
                sent_ms=sent_ms,
                done_ms=done_ms,
                is_ok=exception is None,
            )
        )

    def write(self, path: Path) -> None:
        """Hand over what was recorded."""
        self.end()
        self._samples.requests = self._requests
        self._samples.answers = parse_answers(self._answers)
        self._samples.failures = self._failures
        write_samples(path, self._samples)
