"""The tests of tests/api/test_query.py over every topology."""

from tests.api.test_query import *  # noqa: F403
