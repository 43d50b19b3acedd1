"""Turn times of all kinds into the unix seconds of the service."""

import math
import time
from datetime import UTC, date, datetime
from typing import TypeAlias

import numpy as np

from coinswarm_memory.errors import InvalidTime

TimeLike: TypeAlias = float | str | date | datetime | np.datetime64
"""Unix seconds, an ISO 8601 string, a date (UTC), a datetime with a time zone (also pandas'), or a
numpy.datetime64, which is UTC."""

_LATEST_S = 1e11
_ISO_DATE_CHARACTERS = 10


def unix_seconds(value: TimeLike, name: str = "time") -> float:
    """Return a time as unix seconds.

    Raises InvalidTime for a datetime without a time zone, a time that is missing (NaT, NaN), and
    numbers that look like milliseconds.
    """
    if isinstance(value, bool):
        raise InvalidTime(f"{name} must be a time, got {value}")
    if type(value) is float or isinstance(value, int | float | np.integer | np.floating):
        return _bounded(float(value), name, value)
    if isinstance(value, np.datetime64):
        return _of_datetime64(value, name)
    if isinstance(value, str):
        return _of_text(value, name)
    if isinstance(value, datetime):
        return _of_datetime(value, name)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    raise InvalidTime(
        f"{name} must be unix seconds, an ISO string, a date or a datetime with a time zone, got "
        f"{type(value).__name__}"
    )


def now() -> float:
    """Return the present as unix seconds."""
    return time.time()


def _of_datetime(value: datetime, name: str) -> float:
    if value != value:  # noqa: PLR0124 - pandas' NaT is a datetime that differs from itself
        raise InvalidTime(f"{name} is missing (NaT)")
    if value.tzinfo is None:
        raise InvalidTime(
            f"{name} {value.isoformat()} has no time zone and could mean several moments: give it "
            "one, for instance value.replace(tzinfo=datetime.UTC) or "
            "series.dt.tz_localize('America/New_York')"
        )
    return _bounded(value.timestamp(), name, value)


def shown(seconds: float) -> str:
    """Return unix seconds as `2020-03-01 14:30:00`, also for years that no datetime has."""
    return str(np.datetime64(math.floor(seconds), "s")).replace("T", " ")


def _of_datetime64(value: np.datetime64, name: str) -> float:
    if np.isnat(value):
        raise InvalidTime(f"{name} is missing (NaT)")
    return _bounded(float(value.astype("datetime64[us]").astype(np.int64)) / 1e6, name, value)


def _of_text(value: str, name: str) -> float:
    try:
        found = datetime.fromisoformat(value)
    except ValueError as error:
        raise InvalidTime(
            f"{name} must be ISO 8601, such as 2020-03-01 or 2020-03-01T14:30:00Z, got {value!r}"
        ) from error
    if found.tzinfo is None and len(value) <= _ISO_DATE_CHARACTERS:
        found = found.replace(tzinfo=UTC)
    return _of_datetime(found, name)


def _bounded(seconds: float, name: str, given: object) -> float:
    if not math.isfinite(seconds):
        raise InvalidTime(f"{name} must be finite, got {given}")
    if abs(seconds) > _LATEST_S:
        raise InvalidTime(f"{name} must be seconds, not milliseconds or nanoseconds, got {given}")
    return seconds
