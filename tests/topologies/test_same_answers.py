"""What holds on a single node holds on replicas and behind Sentinels."""

from tests.api.test_against_model import test_random_life_equals_the_model
from tests.api.test_retries import *  # noqa: F403 - its tests, over these topologies
from tests.api.test_tags import *  # noqa: F403

__all__ = ["test_random_life_equals_the_model"]
