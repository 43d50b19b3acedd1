"""Chroma's own server (`chroma run`) and its HTTP client."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
from numpy.typing import NDArray

from app.embedded.node import free_port
from bench.compare.adapter import (
    HNSW_EF_CONSTRUCTION,
    HNSW_EFS,
    HNSW_M,
    Adapter,
    CannotRun,
    agent_name,
    batches,
)
from bench.compare.http_search import HOST, HttpSearch
from bench.recall import TOP_K

START_TIMEOUT_S = 60.0


class _Client:
    def __init__(self, collection: Any) -> None:
        self._collection = collection

    def search(self, vector: NDArray[np.float32], agent: int) -> Sequence[int]:
        found = self._collection.query(
            query_embeddings=vector[np.newaxis],
            n_results=TOP_K,
            where={"agent": agent_name(agent)},
            include=[],
        )
        return [int(row) for row in found["ids"][0]]


def _body(vector: NDArray[np.float32], agent: int) -> bytes:
    """Write numbers as short as float32 allows: a query takes no base64."""
    asked = {
        "query_embeddings": vector[np.newaxis],
        "n_results": TOP_K,
        "where": {"agent": agent_name(agent)},
        "include": [],
    }
    return orjson.dumps(asked, option=orjson.OPT_SERIALIZE_NUMPY)


def _rows(answer: bytes) -> Sequence[int]:
    return [int(row) for row in orjson.loads(answer)["ids"][0]]


class Chroma(Adapter):
    """One collection and a `where`."""

    name = "Chroma"
    way = "server on loopback, HTTP"
    package = "chromadb"
    index = f"HNSW, M {HNSW_M}, where agent"
    ef = HNSW_EFS[0]

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path()
        self._port = 0
        self._ef_in_use = HNSW_EFS[0]

    def start(self, folder: Path, dimension: int) -> None:
        """Run `chroma run` on a free port."""
        self._folder = folder
        self._port = free_port()
        self._run()

    def _run(self) -> None:
        folder = self._folder
        command = Path(sys.executable).with_name("chroma")
        if not command.exists():
            raise CannotRun("the command `chroma` is not installed")
        with (folder / "chroma.log").open("wb") as log:
            self._process = subprocess.Popen(
                [command, "run", "--path", folder / "data", "--port", str(self._port)],
                stdout=log,
                stderr=log,
                cwd=folder,
            )
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > give_up_at or self._process.poll() is not None:
                raise CannotRun(f"`chroma run` did not start: {_tail(folder / 'chroma.log')}")
            time.sleep(0.1)

    def load(self, vectors: NDArray[np.float32], agents: NDArray[np.int64]) -> None:
        """Store batches in one collection."""
        collection = self._http().create_collection(
            "memories",
            embedding_function=None,
            configuration={
                "hnsw": {
                    "space": "cosine",
                    "max_neighbors": HNSW_M,
                    "ef_construction": HNSW_EF_CONSTRUCTION,
                    "ef_search": HNSW_EFS[0],
                }
            },
        )
        for rows in batches(len(vectors)):
            collection.add(
                ids=[str(row) for row in range(rows.start, rows.stop)],
                embeddings=vectors[rows],
                metadatas=[{"agent": agent_name(int(agent))} for agent in agents[rows]],
            )

    def client(self) -> _Client:
        """Open a connection. For a new EF the server restarts: with a loaded index it ignores
        it."""
        if self.ef is not None and self.ef != self._ef_in_use:
            self._collection().modify(configuration={"hnsw": {"ef_search": self.ef}})
            self.stop()
            self._run()
            self._ef_in_use = self.ef
        return _Client(self._collection())

    def http_search(self) -> HttpSearch:
        """Return the request that its own client sends."""
        home = "tenants/default_tenant/databases/default_database"
        path = f"/api/v2/{home}/collections/{self._collection().id}/query"
        return HttpSearch(self._port, path, _body, _rows)

    def process_ids(self) -> list[int]:
        """Return the server."""
        return [self._process.pid] if self._process else []

    def stop(self) -> None:
        """End the server."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            url = f"http://{HOST}:{self._port}/api/v2/heartbeat"
            return httpx.get(url, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def _http(self) -> Any:
        import chromadb  # noqa: PLC0415

        settings = chromadb.Settings(anonymized_telemetry=False)
        return chromadb.HttpClient(HOST, self._port, settings=settings)

    def _collection(self) -> Any:
        return self._http().get_collection("memories", embedding_function=None)


def _tail(path: Path) -> str:
    return path.read_text("utf-8", "replace").strip()[-300:]
