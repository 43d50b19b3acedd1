"""Logs are lines for a person on a terminal, and JSON everywhere else."""

import io
import json
import logging
import logging.config

import pytest

from app.log_config import log_config


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()], ids=["terminal", "file"])
def test_a_log_line(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", stream)
    config = log_config("INFO")
    root = config.pop("root")
    config["loggers"] = {"tried": {**root, "propagate": False}}
    logging.config.dictConfig(config)
    colored = {"color_message": "\x1b[36mstarted\x1b[0m"}
    logging.getLogger("tried").warning("node changed", extra={"node": "master", **colored})
    line = stream.getvalue()
    assert "\x1b" not in line
    assert "color" not in line
    if stream.isatty():
        assert line.split(" ", 1)[1] == "WARNING node changed node=master\n"
    else:
        found = json.loads(line)
        assert (found["level"], found["message"]) == ("WARNING", "node changed")
        assert (found["logger"], found["node"]) == ("tried", "master")
