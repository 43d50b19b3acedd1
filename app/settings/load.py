"""Reads the settings from the environment and `.env`, and refuses those that contradict each
other."""

import os
from collections.abc import Iterable
from pathlib import Path

from dotenv import dotenv_values
from pydantic import ValidationError

from app.errors import ConfigurationError
from app.settings.fields import ENV_FILE, ENV_PREFIX, Settings

OF_CLIENTS = {"MEMORY_API_KEY"}
"""Variables of the demo and the load tests (bench/client_key.py): not misspelt settings."""
OF_TESTS = {"MEMORY_TEST_REDIS_SERVER", "MEMORY_TEST_REDIS_SEARCH"}
"""Variables that name another embedded Redis (app/embedded/files.py): no settings either."""


def _unknown_names(names: Iterable[str]) -> list[str]:
    settings = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields}
    known = settings | OF_CLIENTS | OF_TESTS
    return sorted(n for n in names if n.upper().startswith(ENV_PREFIX) and n.upper() not in known)


def load_settings(env_file: Path | None = None) -> Settings:
    """Read the settings from the environment and `.env`.

    Raise ConfigurationError for a wrong value, and for a `MEMORY_` variable that does not exist: a
    misspelt setting must not silently fall back to its default.
    """
    path = env_file or Path(ENV_FILE)
    in_file = dotenv_values(path) if path.is_file() else {}
    unknown = _unknown_names({*os.environ, *in_file})
    if unknown:
        raise ConfigurationError(
            f"Unknown setting {', '.join(unknown)}: correct the name or unset it "
            "(`./memory settings` lists them)."
        )
    try:
        settings = Settings(_env_file=path)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ENV_PREFIX + "_".join(str(part) for part in first["loc"]).upper()
        said = first["msg"].removeprefix("Value error, ").replace("Input should", "it should", 1)
        raise ConfigurationError(f"Setting {name} is wrong: {said}.") from error
    if settings.auth == "file" and settings.api_keys_file is None:
        raise ConfigurationError("MEMORY_AUTH is file: set MEMORY_API_KEYS_FILE to that file.")
    if settings.auth == "redis" and settings.api_keys_file is not None:
        raise ConfigurationError("MEMORY_AUTH is redis: unset MEMORY_API_KEYS_FILE, or use file.")
    if settings.durability_timeout_ms >= settings.redis_read_timeout_s * 1000:
        raise ConfigurationError(
            "MEMORY_DURABILITY_TIMEOUT_MS must be less than MEMORY_REDIS_READ_TIMEOUT_S, because "
            "Redis answers only after it."
        )
    single = (settings.redis_url, settings.replica_urls, settings.sentinel_urls)
    if settings.groups is not None and any(single):
        raise ConfigurationError(
            "MEMORY_GROUPS already names every Redis: unset MEMORY_REDIS_URL, MEMORY_REPLICA_URLS "
            "and MEMORY_SENTINEL_URLS."
        )
    if settings.sentinel_urls and (settings.redis_url is not None or settings.replica_urls):
        raise ConfigurationError(
            "MEMORY_SENTINEL_URLS already name the master and its replicas: unset MEMORY_REDIS_URL "
            "and MEMORY_REPLICA_URLS."
        )
    if settings.replica_urls and settings.redis_url is None:
        raise ConfigurationError(
            "MEMORY_REPLICA_URLS are replicas of MEMORY_REDIS_URL: set that too, or use "
            "MEMORY_EMBEDDED_REPLICAS."
        )
    return settings
