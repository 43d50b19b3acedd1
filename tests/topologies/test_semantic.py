"""The tests of tests/api/test_semantic.py over every topology."""

from tests.api.test_semantic import *  # noqa: F403
