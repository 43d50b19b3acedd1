"""The tests of tests/api/test_against_model.py over every topology."""

from tests.api.test_against_model import test_random_life_equals_the_model

__all__ = ["test_random_life_equals_the_model"]
