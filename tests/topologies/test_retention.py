"""The tests of tests/api/test_retention.py over every topology."""

from tests.api.test_retention import *  # noqa: F403
