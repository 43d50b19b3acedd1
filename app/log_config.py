"""Logs on standard error: readable lines on a terminal, otherwise one JSON object per line.

Also says whether OpenTelemetry traces are collected.
"""

import logging
import os
import sys
from contextvars import ContextVar
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


def current_request_id() -> str | None:
    """Return the current request's id. None outside of a request."""
    return request_id.get()


class RequestIdFilter(logging.Filter):
    """Adds the request's id to every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Set the record's request id and let the record pass."""
        record.request_id = request_id.get()
        return True


class ReadableFormatter(logging.Formatter):
    """One line for a person: time, level, message, and `name=value` for each detail."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line without a traceback."""
        details = {
            name: value
            for name, value in vars(record).items()
            if name not in _NO_DETAILS and value is not None
        }
        return " ".join(
            [super().formatMessage(record), *(f"{name}={value}" for name, value in details.items())]
        )


_NO_DETAILS = {
    *vars(logging.makeLogRecord({})),
    *("message", "asctime", "color_message", "taskName"),
}


def log_config(level: str) -> dict[str, Any]:
    """Return the configuration for `logging.config.dictConfig` and for uvicorn."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": RequestIdFilter}},
        "formatters": {
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "format": "%(asctime)s %(levelname)s %(name)s %(message)s %(request_id)s",
                "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
                "reserved_attrs": [*RESERVED_ATTRS, "color_message"],
            },
            "readable": {"()": ReadableFormatter},
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "readable" if sys.stderr.isatty() else "json",
                "filters": ["request_id"],
                "stream": "ext://sys.stderr",
            }
        },
        "root": {"level": level, "handlers": ["stderr"]},
        # At DEBUG its compiler writes thousands of lines a function.
        "loggers": {"numba": {"level": "WARNING"}},
    }


ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def traces_endpoint() -> str | None:
    """Return the environment variable that names the traces' destination. None if none is set."""
    return next((name for name in ENDPOINTS if os.environ.get(name)), None)


def is_tracing() -> bool:
    """Return whether this process collects traces."""
    return traces_endpoint() is not None
