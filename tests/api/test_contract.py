"""The HTTP contract and the settings are those of contract.json, but for what is listed here.

`python -m tests.api.test_contract` makes today's contract the baseline, when a change is meant.

The OpenAPI document is compared without descriptions and examples, and in its order. A difference
that is listed and not there fails as well, so the lists stay true. Settings are compared by name,
since they are listed by section.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.api.app import create_api
from app.auth.key_store import AuthState, key_ring
from app.auth.limits import RateLimiter
from app.commands.list_settings import settings_table
from app.settings import Settings

BASELINE_FILE = Path(__file__).with_name("contract.json")
BASELINE = json.loads(BASELINE_FILE.read_text())
PROSE = {"description", "summary", "example", "examples"}
NAMED = {"properties", "schemas"}
"""Under these, keys are names, whatever they are."""

HTTP_DIFFERENCES: set[str] = set()
"""`+` added, `-` removed, `~` changed, `>` moved: the place in the OpenAPI document."""

SETTINGS_DIFFERENCES: set[str] = set()


def without_prose(node: Any, *, keys_are_names: bool = False) -> Any:
    if isinstance(node, dict):
        return {
            key: without_prose(value, keys_are_names=key in NAMED)
            for key, value in node.items()
            if keys_are_names or key not in PROSE
        }
    if isinstance(node, list):
        return [without_prose(item) for item in node]
    return node


def differences(before: Any, now: Any, place: str = "") -> Iterator[str]:
    if not (isinstance(before, dict) and isinstance(now, dict)):
        if before != now:
            yield f"~{place}"
        return
    yield from (f"+{place}/{key}" for key in now if key not in before)
    yield from (f"-{place}/{key}" for key in before if key not in now)
    kept = [key for key in before if key in now]
    if kept != [key for key in now if key in before]:
        yield f">{place}"
    for key in kept:
        yield from differences(before[key], now[key], f"{place}/{key}")


def openapi_now() -> Any:
    settings = Settings(redis_url="redis://127.0.0.1:1")
    api = create_api(settings, AuthState(key_ring(settings), RateLimiter()))
    return without_prose(json.loads(json.dumps(api.openapi())))


def settings_now() -> dict[str, str]:
    # The rest of a long description is indented.
    rows = [line for line in settings_table(200).splitlines() if line.startswith("MEMORY_")]
    now = dict(row.split()[:2] for row in rows)
    return dict(sorted((now | {"MEMORY_DATA_DIR": "(data folder)"}).items()))


def http_differences() -> set[str]:
    return set(differences(BASELINE["openapi"], openapi_now()))


def settings_differences() -> set[str]:
    return set(differences(dict(sorted(BASELINE["settings"])), settings_now()))


def write_baseline() -> None:
    """Make today's contract the baseline: the file's difference is what a reviewer reads."""
    now = {"openapi": openapi_now(), "settings": [list(pair) for pair in settings_now().items()]}
    BASELINE_FILE.write_text(json.dumps(now, indent=0, separators=(",", ":")) + "\n")


def test_the_openapi_document_is_the_released_one() -> None:
    assert http_differences() == HTTP_DIFFERENCES


def test_the_settings_are_the_released_ones() -> None:
    assert settings_differences() == SETTINGS_DIFFERENCES


if __name__ == "__main__":
    write_baseline()
