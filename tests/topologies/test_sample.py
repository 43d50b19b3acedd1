"""The tests of tests/api/test_sample.py over every topology."""

from tests.api.test_sample import *  # noqa: F403
