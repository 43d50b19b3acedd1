"""Makes the nodes of shards out of addresses."""

from collections.abc import Sequence
from functools import partial

from app.settings import Settings
from app.storage.client import create_redis
from app.storage.index import Indexes
from app.storage.redis_node import MASTER, REPLICA, RedisNode
from app.storage.shared_connection import SharedConnection
from app.storage.vector_search import VectorSearch
from app.tracing import is_tracing

CLIENT_NAME = "coinswarm-memory"
PROBE_CONNECTIONS = 5
"""For looking at a node, for readiness, for the change channel and for API keys."""


class NodeFactory:
    """Whoever has a node made closes it with `node.aclose()`."""

    def __init__(self, settings: Settings, indexes: Indexes) -> None:
        self._settings = settings
        self._indexes = indexes

    def make(
        self, name: str, url: str, *, is_master: bool, has_fixed_role: bool = True
    ) -> RedisNode:
        """A node that is not connected yet. Raises ConfigurationError for what is no address."""
        settings = self._settings
        create = partial(create_redis, client_name=CLIENT_NAME, settings=settings)
        node = RedisNode(
            name,
            client=create(url),
            waiting=create(url),
            probe=create(url, max_connections=PROBE_CONNECTIONS),
            is_master=is_master,
            has_fixed_role=has_fixed_role,
        )
        if not is_tracing():  # traces follow the client's own calls
            timeout_s = settings.redis_read_timeout_s
            node.shared = SharedConnection(node.client, read_timeout_s=timeout_s)
        search = VectorSearch(node, indexes=self._indexes, timeout_ms=settings.search_timeout_ms)
        node.search = search.recall_many
        return node

    def make_static(self, urls: Sequence[str]) -> list[RedisNode]:
        """The master at the first address, then its replicas, named `master`, `replica-1`, ..."""
        names = [MASTER, *(f"{REPLICA}-{number}" for number in range(1, len(urls)))]
        return [
            self.make(name, url, is_master=name == MASTER)
            for name, url in zip(names, urls, strict=True)
        ]
