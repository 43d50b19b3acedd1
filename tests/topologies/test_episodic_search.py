"""The tests of tests/api/test_episodic_search.py over every topology."""

from tests.api.test_episodic_search import *  # noqa: F403
