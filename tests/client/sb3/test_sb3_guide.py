"""The guide to Stable-Baselines3 runs as printed, on a Redis without another dimension's data."""

from importlib.util import find_spec

import pytest

if find_spec("stable_baselines3") is None:
    pytest.skip("NOT CHECKED: Stable-Baselines3; run make test-rl", allow_module_level=True)

from app.embedded import EmbeddedNode
from coinswarm_memory import Memory
from tests.kit.documented import run_python
from tests.kit.service_process import REPOSITORY, service_process

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # torch's and gymnasium's own
]


def test_the_guide(empty_node: EmbeddedNode) -> None:
    with service_process(redis_url=empty_node.url, dimension=256) as service:
        left = run_python(REPOSITORY / "docs/guide/stable-baselines.md", service.url)
        with Memory(service.url) as memory:
            stored = len(list(memory.agent("cartpole_dqn").query()))
    assert stored == left["model"].replay_buffer.size() >= 150
