"""What a recall's decision leaves, and what goes with the agent, over every topology."""

from tests.uplift.test_decisions import (
    api,
    test_a_decision_without_a_memory,
    test_a_memory_under_the_recalls_id_is_the_decision,
    test_the_service_counts_as_the_method_says,
)

__all__ = [
    "api",
    "test_a_decision_without_a_memory",
    "test_a_memory_under_the_recalls_id_is_the_decision",
    "test_the_service_counts_as_the_method_says",
]
