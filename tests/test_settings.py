"""Settings come from the environment, and a misspelt one is not passed over."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.errors import ConfigurationError
from app.settings import Settings, load_settings


def test_defaults_are_the_documented_ones() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.dimension) == ("127.0.0.1", 8000, 256)
    assert settings.redis_url is None
    assert settings.redis_max_connections == 50


def test_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMORY_DIMENSIONS", "128")
    with pytest.raises(ConfigurationError, match="MEMORY_DIMENSIONS"):
        load_settings()


def test_unknown_name_in_the_env_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MEMORY_PROT=1\nOTHER=2\n")
    with pytest.raises(ConfigurationError, match="MEMORY_PROT"):
        load_settings()


def test_env_file_is_read_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("MEMORY_PORT=9000\nMEMORY_DIMENSION=64\n")
    monkeypatch.setenv("MEMORY_PORT", "9001")
    settings = load_settings()
    assert (settings.port, settings.dimension) == (9001, 64)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MEMORY_PORT", "70000"),
        ("MEMORY_DIMENSION", "1"),
        ("MEMORY_REDIS_URL", "http://x"),
        ("MEMORY_LAYOUT", "per-agent"),
    ],
)
def test_wrong_value_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        load_settings()


def test_replicas_without_a_master_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMORY_REPLICA_URLS", "redis://a:1, redis://b:2")
    with pytest.raises(ConfigurationError, match="MEMORY_REDIS_URL"):
        load_settings()
    monkeypatch.setenv("MEMORY_REDIS_URL", "redis://m:0")
    assert len(load_settings().replica_urls) == 2


def test_settings_are_frozen_and_hide_the_password() -> None:
    settings = Settings(redis_url="redis://:hush@h:1")
    assert "hush" not in repr(settings)
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]
