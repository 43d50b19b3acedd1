"""What a load generator measured, as it hands it over: every request, and answers to check."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from bench.processor_time import ProcessorTime

MAX_ANSWERS = 2000
"""Answers kept to compute recall from; keeping all of a long run would fill the memory."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Times are milliseconds; `due_ms` and `sent_ms` count from the run's start.

    `kind` is what was asked, `agent` and `item` are numbers of the agent and of what it sent.
    `due_ms` is when it should have been sent: in a closed loop that is when it was.
    """

    kind: str
    agent: int
    item: int
    due_ms: float
    sent_ms: float
    done_ms: float
    is_ok: bool


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """The body that answered request number `request`."""

    request: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search answered: ids, nearest first, and what it said of itself."""

    request: int
    ids: tuple[str, ...]
    is_exact: bool
    is_partial: bool
    is_cached: bool


@dataclass(slots=True)
class Samples:
    """A measured run."""

    requests: list[Request] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    processor: ProcessorTime = field(default_factory=lambda: ProcessorTime(0.0, {}))


def parse_answers(raw: Sequence[RawAnswer]) -> list[Answer]:
    """Read the kept bodies; done after the clock has stopped."""
    return [_parse(answer) for answer in raw]


def _parse(raw: RawAnswer) -> Answer:
    answer = orjson.loads(raw.body)
    return Answer(
        request=raw.request,
        ids=tuple(memory["id"] for memory in answer["memories"]),
        is_exact=answer["exact"],
        is_partial=answer["partial"],
        is_cached=answer["cached"],
    )


def write_samples(path: Path, samples: Samples) -> None:
    """Write the samples for another process to read."""
    path.write_bytes(orjson.dumps(asdict(samples)))


def read_samples(path: Path) -> Samples:
    """Return what `write_samples` wrote."""
    raw = orjson.loads(path.read_bytes())
    return Samples(
        requests=[Request(**request) for request in raw["requests"]],
        answers=[Answer(**{**a, "ids": tuple(a["ids"])}) for a in raw["answers"]],
        failures=Counter(raw["failures"]),
        processor=ProcessorTime(**raw["processor"]),
    )
