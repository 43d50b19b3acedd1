"""Looks at a node that may be dead or paused."""

from redis import Redis

from tests.deploy.nodes import Node

PROBE_TIMEOUT_S = 2.0


def probe(node: Node) -> Redis:
    """Return a client that gives up soon; use it as a context manager."""
    client = node.client()
    client.connection_pool.connection_kwargs |= {
        "socket_timeout": PROBE_TIMEOUT_S,
        "socket_connect_timeout": PROBE_TIMEOUT_S,
    }
    return client
