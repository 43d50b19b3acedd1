"""Coinswarm Memory over HTTP. A tenant of VectorDBBench is an agent of the service."""

import base64
import json
from contextlib import contextmanager
from http.client import HTTPConnection
from itertools import groupby
from urllib.parse import urlsplit

import numpy as np

from ..api import DBCaseConfig, VectorDB

SINGLE_TENANT = "vectordbbench"
"""The agent of the cases without tenants."""

BATCH = 500
TIMEOUT_S = 120


class CoinswarmMemory(VectorDB):
    """Ids are the rows' numbers; a connection belongs to one thread."""

    name = "CoinswarmMemory"
    thread_safe: bool = False

    def __init__(
        self,
        dim: int,
        db_config: dict,
        db_case_config: DBCaseConfig | None,
        collection_name: str = "",
        drop_old: bool = False,
        **kwargs,
    ):
        self._address = urlsplit(db_config["url"]).netloc
        self._headers = {"Content-Type": "application/json"}
        if db_config.get("key"):
            self._headers["Authorization"] = f"Bearer {db_config['key']}"
        self._http: HTTPConnection | None = None
        self.multitenant_tenant_labels = kwargs.get("multitenant_tenant_labels") or []
        if drop_old:
            with self.init():
                for agent in self.multitenant_tenant_labels or [SINGLE_TENANT]:
                    self._post("/v1/episodic/delete", {"agent_id": agent, "dry_run": False})

    @contextmanager
    def init(self):
        """Hold one connection open."""
        self._http = HTTPConnection(self._address, timeout=TIMEOUT_S)
        try:
            yield
        finally:
            self._http.close()
            self._http = None

    def supports_multitenant(self) -> bool:
        """Return True: every agent has an index of its own."""
        return True

    def insert_embeddings(
        self,
        embeddings: list[list[float]],
        metadata: list[int],
        labels_data: list[str] | None = None,
        tenant_labels_data: list[str] | None = None,
        **kwargs,
    ) -> tuple[int, Exception | None]:
        """Store a batch. Storing it again doubles nothing: the same id with the same content."""
        agents = tenant_labels_data or [SINGLE_TENANT] * len(metadata)
        # One agent's memories together, so that a request touches few indexes.
        order = sorted(range(len(metadata)), key=agents.__getitem__)
        memories = [
            _memory(agent, metadata[row], embeddings[row])
            for agent, rows in groupby(order, key=agents.__getitem__)
            for row in rows
        ]
        try:
            for start in range(0, len(memories), BATCH):
                body = {"memories": memories[start : start + BATCH]}
                answer = self._post("/v1/episodic/batch", body)
                if answer["failed"]:
                    return start, RuntimeError(f"{answer['failed']} memories were refused")
        except (OSError, RuntimeError) as error:
            return 0, error
        return len(memories), None

    def search_embedding(
        self, query: list[float], k: int = 100, tenant: str | None = None, **kwargs
    ) -> list[int]:
        """Return the ids of the nearest memories, nearest first."""
        body = {"agent_id": tenant or SINGLE_TENANT, "top_k": k, "state_vector": _base64(query)}
        answer = self._post("/v1/episodic/search", body)
        return [int(memory["id"]) for memory in answer["memories"]]

    def optimize(self, data_size: int | None = None):
        """Do nothing: what a batch confirmed is found."""

    def _post(self, path: str, body: dict) -> dict:
        self._http.request("POST", path, json.dumps(body), self._headers)
        answer = self._http.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: status {answer.status}: {content[:300]!r}")
        return json.loads(content)


def _memory(agent: str, row: int, embedding: list[float]) -> dict:
    return {
        "agent_id": agent,
        "id": str(row),
        "product_id": "none",
        "regime": "none",
        "state_vector": _base64(embedding),
        "timestamp": float(row),
    }


def _base64(vector: list[float]) -> str:
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode("ascii")
