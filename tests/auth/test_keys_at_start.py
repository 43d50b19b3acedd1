"""A service that starts while the keys cannot be read for a moment waits for them."""

from collections.abc import Callable

import pytest

from app.auth import key_store
from app.auth.key_store import _Follower, key_ring
from app.auth.keys import KeyRecord
from app.errors import ConfigurationError, MemoryServiceError, StorageLoading, StorageUnavailable
from app.settings import Settings


class FailingStore:
    """Keys that can be read after these failures."""

    def __init__(self, *failures: MemoryServiceError) -> None:
        self.failures = list(failures)
        self.asked = 0

    async def version(self) -> object:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        return 1

    async def read(self) -> list[KeyRecord]:
        return []

    async def write(self, record: KeyRecord) -> None:
        raise NotImplementedError

    async def write_lasting(self, record: KeyRecord) -> bool:
        raise NotImplementedError


@pytest.fixture
def start() -> Callable[[FailingStore], _Follower]:
    return lambda store: _Follower(store, key_ring(Settings()))


async def test_what_passes_is_waited_for(start: Callable[[FailingStore], _Follower]) -> None:
    store = FailingStore(StorageLoading("loads"), StorageUnavailable("away"))
    await start(store).look_first()
    assert store.asked == 3


async def test_what_does_not_pass_ends_the_start(
    start: Callable[[FailingStore], _Follower], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = FailingStore(ConfigurationError("record 1 is no API key"))
    with pytest.raises(ConfigurationError):
        await start(broken).look_first()
    monkeypatch.setattr(key_store, "START_WAIT_S", 0.05)
    away = FailingStore(*[StorageUnavailable("away")] * 1000)
    with pytest.raises(StorageUnavailable):
        await start(away).look_first()
    assert 1 < away.asked < 1000
