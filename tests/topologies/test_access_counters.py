"""The tests of tests/api/test_access_counters.py over every topology."""

from tests.api.test_access_counters import *  # noqa: F403
