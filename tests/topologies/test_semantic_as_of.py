"""The tests of tests/api/test_semantic_as_of.py over every topology."""

from tests.api.test_semantic_as_of import *  # noqa: F403
