"""Draw experiences to train on."""

from collections.abc import Mapping
from typing import Any

from coinswarm_memory.answers.sample import SampleArrays, SamplePage, arrays_of
from coinswarm_memory.operations.request import Operation, Reply, post, reading

_page = reading(SamplePage)


def sample(wanted: Mapping[str, Any]) -> Operation[SampleArrays]:
    """Draw experiences, with their vectors."""
    return Operation(post("/v1/episodic/sample", {**wanted, "include_vectors": True}), _read)


def _read(reply: Reply) -> SampleArrays:
    return arrays_of(_page(reply))
