"""The tests of tests/api/test_semantic_patch.py over every topology."""

from tests.api.test_semantic_patch import *  # noqa: F403
