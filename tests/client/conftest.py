"""One service in a process of its own for each module: the client blocks, and threads share it."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from app.embedded import EmbeddedNode
from coinswarm_memory import Memory
from tests.conftest import DIMENSION
from tests.kit.service_process import ServiceProcess, service_process


@pytest.fixture(scope="module")
def service(empty_node: EmbeddedNode) -> Iterator[ServiceProcess]:
    with service_process(redis_url=empty_node.url, dimension=DIMENSION) as running:
        yield running


@pytest.fixture(scope="module")
def memory(service: ServiceProcess) -> Iterator[Memory]:
    with Memory(service.url, timeout_s=20) as client:
        yield client


def states(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
