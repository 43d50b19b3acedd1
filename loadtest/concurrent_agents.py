"""Phase 2: agents with 1,000 memories each ask at the same time, each as fast as it is answered.

locust -f loadtest/ --headless -u 50 -r 50 --agents 50 --queries 100 ConcurrentAgent
"""

from loadtest._searching_user import SearchingUser


class ConcurrentAgent(SearchingUser):
    """One of many agents."""

    workload_name = "swarm"
    kind = "phase 2: search"
    default_memories = 1_000
