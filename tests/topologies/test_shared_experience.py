"""The tests of tests/api/test_shared_experience.py over every topology."""

from tests.api.test_shared_experience import *  # noqa: F403
