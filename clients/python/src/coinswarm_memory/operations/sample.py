"""Draw experiences to train on."""

from collections.abc import Mapping
from typing import Any

from coinswarm_memory.answers.sample import SampleArrays, SamplePage, arrays_of
from coinswarm_memory.operations import columns
from coinswarm_memory.operations.request import Operation, Reply, post, reading

_page = reading(SamplePage)


def sample(wanted: Mapping[str, Any]) -> Operation[SampleArrays]:
    """Draw experiences, with their vectors."""
    body = {**wanted, "include_vectors": True}
    return Operation(post("/v1/episodic/sample", body, accept=columns.accepted()), _read)


def _read(reply: Reply) -> SampleArrays:
    return columns.read_sample(reply.body) if reply.is_arrow else arrays_of(_page(reply))
