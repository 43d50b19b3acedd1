"""The databases, in the order of the table."""

from bench.compare.adapter import Adapter
from bench.compare.adapters.brute_force import BruteForce
from bench.compare.adapters.chroma import Chroma
from bench.compare.adapters.faiss_flat import FaissFlat
from bench.compare.adapters.lance import LanceDb
from bench.compare.adapters.memory_service import MemoryServicePerAgent, MemoryServiceShared
from bench.compare.adapters.milvus import MilvusLite, MilvusServer
from bench.compare.adapters.postgres import Pgvector
from bench.compare.adapters.qdrant import QdrantEdge, QdrantServer
from bench.compare.adapters.raw_redis import RawRedisPerAgent, RawRedisShared

ADAPTERS: dict[str, type[Adapter]] = {
    "numpy": BruteForce,
    "faiss": FaissFlat,
    "redis": RawRedisPerAgent,
    "redis-shared": RawRedisShared,
    "memory": MemoryServicePerAgent,
    "memory-shared": MemoryServiceShared,
    "qdrant-edge": QdrantEdge,
    "qdrant": QdrantServer,
    "milvus-lite": MilvusLite,
    "milvus": MilvusServer,
    "chroma": Chroma,
    "pgvector": Pgvector,
    "lancedb": LanceDb,
}
"""By the name on the command line."""

NEED_A_SERVER = frozenset({"qdrant", "milvus"})
"""Reached by an address in the environment."""

OWN_ENVIRONMENT = frozenset({"memory", "memory-shared", "redis", "redis-shared"})
"""Run with this interpreter's packages: the service is measured with the ones it is served with."""

PUBLISHED = {
    "redis": (12_000, 0.8),
    "qdrant": (3_500, 2.8),
    "milvus": (3_000, 3.2),
}
"""Queries a second and latency in ms that the specification quotes: 1,000,000 vectors of 768
numbers, top 10, recall 0.98, on other hardware, without a filter. Not measured here."""
