"""Traces reach a collector when there is one to reach."""

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app.api.app import telemetry
from app.errors import ConfigurationError
from tests.conftest import DIMENSION
from tests.kit.service_process import service_process


class Collector(ThreadingHTTPServer):
    """Takes what is sent by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.received: list[tuple[str, bytes]] = []


class _Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((self.path, content))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_spans_of_requests_and_of_redis_arrive(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    with service_process(data_dir=tmp_path, dimension=DIMENSION) as service:
        with service.client() as client:
            question = {"agent_id": "secret-agent", "state_vector": [1.0] * DIMENSION}
            assert client.post("/v1/episodic/search", json=question).status_code == 200
        assert service.stop() == 0
    assert {path for path, _ in collector.received} == {"/v1/traces"}
    sent = b"".join(content for _, content in collector.received)
    assert b"POST /v1/episodic/search" in sent
    assert b"FT.SEARCH" in sent
    assert b"secret-agent" not in sent


def test_nothing_is_traced_without_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert telemetry()["tracing"] is False


def test_without_the_extra_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.redis", None)
    with pytest.raises(
        ConfigurationError, match=r"pip install '\.\[telemetry\]'` in the repository, or unset"
    ):
        telemetry()
