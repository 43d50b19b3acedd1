"""The tests of tests/api/test_retries.py over every topology."""

from tests.api.test_retries import *  # noqa: F403
