"""Phase 1: one agent with 10,000 memories asks 1,000 times, one question after the other.

locust -f loadtest/ --headless -u 1 --queries 1000 SingleAgent
"""

from argparse import Namespace

from loadtest._searching_user import SearchingUser


class SingleAgent(SearchingUser):
    """The baseline: latency without concurrency."""

    workload_name = "single"
    kind = "phase 1: search"
    default_memories = 10_000

    @classmethod
    def agents(cls, options: Namespace) -> int:  # noqa: ARG003 - the baseline has one agent
        return 1
