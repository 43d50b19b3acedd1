"""A service that is told to end answers what was sent until then."""

import json
import os
import re
import signal
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from app.nodes.changes import TRUSTED_FOR_S
from tests.conftest import DIMENSION
from tests.kit.load import Callers
from tests.kit.service_process import service_process, until_ready, until_workers

CALLERS = 50
QUESTION: dict[str, Any] = {"agent_id": "a", "state_vector": [1.0] * DIMENSION, "top_k": 5}
MEMORY = {"agent_id": "a", "product_id": "p", "regime": "r", "state_vector": [1.0] * DIMENSION}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_every_request_sent_before_the_signal_is_answered(
    tmp_path: Path, workers: int, how: signal.Signals
) -> None:
    with service_process(data_dir=tmp_path, dimension=DIMENSION, workers=workers) as service:
        with service.client() as client:
            assert client.post("/v1/episodic", json=MEMORY).status_code == 201
        callers = Callers(service.url, QUESTION, CALLERS)
        callers.start()
        try:
            callers.until_answered(2 * CALLERS)
            signalled_at = time.monotonic()
            assert service.stop(how) == 0
        finally:
            callers.stop.set()
            callers.join()
    assert set(callers.statuses) == {200}
    assert callers.closed > 0
    assert [sent_at for sent_at in callers.lost_at if sent_at <= signalled_at] == []


def until_handled(process_id: int, wanted: signal.Signals) -> None:
    """Wait until the process has a handler for this signal: a worker that loads has none yet."""
    status = Path(f"/proc/{process_id}/status")
    give_up_at = time.monotonic() + 60
    while True:
        handled = re.search(r"^SigCgt:\t(\w+)$", status.read_text(), re.MULTILINE)
        assert handled
        if int(handled[1], 16) >> (wanted - 1) & 1:
            return
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


@pytest.mark.parametrize("workers", [1, 2])
def test_requests_that_wait_in_the_kernel_are_answered(tmp_path: Path, workers: int) -> None:
    """Nothing of them was read when the signal came: on kept connections and on new ones."""
    content = json.dumps(QUESTION)
    with service_process(data_dir=tmp_path, dimension=DIMENSION, workers=workers) as service:
        serving = [service.process.pid] if workers == 1 else until_workers(service, workers)
        until_ready(service)
        address = service.url.removeprefix("http://")
        callers = [HTTPConnection(address, timeout=60) for _ in range(CALLERS)]
        kept = callers[: CALLERS // 2]
        for caller in kept:
            caller.request("POST", "/v1/episodic/search", content)
            assert caller.getresponse().read()
        for process_id in serving:
            until_handled(process_id, signal.SIGTERM)
            os.kill(process_id, signal.SIGSTOP)
        for caller in callers:
            caller.request("POST", "/v1/episodic/search", content)
        # To each, as a terminal's goes: a parent that waits for a stopped worker passes it on late.
        for process_id in {service.process.pid, *serving}:
            os.kill(process_id, signal.SIGTERM)
        time.sleep(TRUSTED_FOR_S + 0.5)  # an answer from the cache is sooner than uvicorn's look
        for process_id in serving:
            os.kill(process_id, signal.SIGCONT)
        lost = 0
        for caller in callers:
            try:
                answer = caller.getresponse()
                assert (answer.status, answer.getheader("connection")) == (200, "close")
                answer.read()
            except (ConnectionError, HTTPException):
                lost += 1
            caller.close()
        assert lost == 0
        assert service.process.wait(60) == 0


def test_a_stuck_redis_holds_the_end_up_no_longer_than_the_setting(tmp_path: Path) -> None:
    with service_process(data_dir=tmp_path, dimension=DIMENSION, shutdown_timeout_s=1) as service:
        redis_process = service.redis_process_id()
        callers = Callers(service.url, QUESTION, 1)
        os.kill(redis_process, signal.SIGSTOP)
        try:
            callers.start()
            callers.until_sent()
            callers.stop.set()
            service.process.send_signal(signal.SIGTERM)
            callers.join()  # answered, with an error: its Redis does not answer
            assert service.process.poll() is None
        finally:
            os.kill(redis_process, signal.SIGCONT)
        assert service.process.wait(60) == 0
    assert callers.lost_at == []
    assert set(callers.statuses) <= {500, 503, 504}
