"""A service that asks for keys, and callers that have some."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from app.auth.key_store import FileKeyStore
from app.auth.keys import KeyRecord, new_key
from app.settings import Settings
from tests.conftest import DIMENSION, running_service
from tests.kit.service_process import NO_TLS

VECTOR = [1.0, *[0.0] * (DIMENSION - 1)]


def memory(agent_id: str, memory_id: str, **fields: object) -> dict[str, Any]:
    base = {"product_id": "p", "regime": "r", "state_vector": VECTOR}
    return base | {"agent_id": agent_id, "id": memory_id} | fields


def concept(memory_id: str) -> dict[str, Any]:
    base = {"memory_type": "PATTERN", "regime_name": "r", "concept_vector": VECTOR}
    return base | {"id": memory_id, "sharpe_ratio": 1.0, "win_rate": 0.5}


class KeyedService:
    """`caller(...)`: a client with a new key of these rights, which the service knows at once."""

    def __init__(self, client: httpx.AsyncClient, store: FileKeyStore) -> None:
        self.anonymous = client
        self.store = store
        self._callers: list[httpx.AsyncClient] = []

    async def caller(
        self, role: str, agents: Sequence[str] = (), **rights: object
    ) -> httpx.AsyncClient:
        key, _ = await made_key(self.store, role, agents, **rights)
        client = httpx.AsyncClient(
            base_url=self.anonymous.base_url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
            verify=NO_TLS,
        )
        self._callers.append(client)
        while (await client.get("/v1/typo")).status_code == 401:
            pass
        return client

    async def aclose(self) -> None:
        for client in self._callers:
            await client.aclose()


async def made_key(
    store: FileKeyStore, role: str, agents: Sequence[str] = (), **rights: object
) -> tuple[str, KeyRecord]:
    key, key_id, digest = new_key()
    record = KeyRecord.model_validate(
        {
            "id": key_id,
            "sha256": digest,
            "role": role,
            "agents": tuple(agents),
            "created_at": time.time(),
            **rights,
        }
    )
    await store.write(record)
    return key, record


def with_keys(settings: Settings, folder: Path, **update: object) -> Settings:
    return settings.model_copy(
        update={"api_keys_file": folder / "keys", "api_keys_poll_s": 0.01, **update}
    )


@asynccontextmanager
async def keyed_service(settings: Settings) -> AsyncIterator[KeyedService]:
    assert settings.api_keys_file is not None
    async with running_service(settings) as client:
        service = KeyedService(client, FileKeyStore(settings.api_keys_file))
        try:
            yield service
        finally:
            await service.aclose()
