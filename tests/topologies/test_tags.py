"""The tests of tests/api/test_tags.py over every topology."""

from tests.api.test_tags import *  # noqa: F403
