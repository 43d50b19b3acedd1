"""A real Redis with its query engine as a child process, to run the service without any set-up."""

from app.embedded.node import EmbeddedNode
from app.embedded.topology import EmbeddedTopology, embedded_redis

__all__ = ["EmbeddedNode", "EmbeddedTopology", "embedded_redis"]
