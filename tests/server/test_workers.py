"""Several worker processes: one address, one Redis, nothing left behind."""

import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import DIMENSION
from tests.kit.service_process import (
    NO_TLS,
    run_serve,
    service_process,
    until_workers,
    wait_until_gone,
)


def metrics_folder(worker: int) -> Path:
    variables = Path(f"/proc/{worker}/environ").read_bytes().split(b"\0")
    value = next(v for v in variables if v.startswith(b"PROMETHEUS_MULTIPROC_DIR="))
    return Path(os.fsdecode(value.partition(b"=")[2]))


def held_by(workers: Sequence[int], port: int) -> list[int]:
    """Return how many connections each worker holds."""
    return [
        sum(
            one.laddr.port == port and one.status == psutil.CONN_ESTABLISHED
            for one in psutil.Process(worker).net_connections("tcp")
        )
        for worker in workers
    ]


def shares_of_a_burst(url: httpx.URL, workers: Sequence[int]) -> list[int]:
    """Return how many of 40 connections that come at once each worker takes."""
    address = url.host, url.port or 0
    with ExitStack() as stack:
        callers = [stack.enter_context(socket.socket()) for _ in range(40)]
        for caller in callers:
            caller.setblocking(False)
            with suppress(BlockingIOError):
                caller.connect(address)
        for caller in callers:
            caller.settimeout(60)
            select.select([], [caller], [], 60)
            caller.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for caller in callers:
            assert caller.recv(4096).startswith(b"HTTP/1.1 200")
        return held_by(workers, address[1])


def test_workers_share_one_redis_and_are_replaced(tmp_path: Path) -> None:
    with service_process(data_dir=tmp_path, dimension=DIMENSION, workers=2) as service:
        workers = until_workers(service, 2)
        with service.client() as client:
            redis_ids = set()
            for _ in range(20):  # new connections reach both workers
                redis_ids.add(service.redis_process_id())
            assert len(redis_ids) == 1
            give_up_at = time.monotonic() + 60  # the second worker is still starting
            while min(share := shares_of_a_burst(httpx.URL(service.url), workers)) < 10:
                assert time.monotonic() < give_up_at, share
            os.kill(workers[0], signal.SIGKILL)
            assert wait_until_gone(workers[0])
            replaced = until_workers(service, 2)
            assert workers[0] not in replaced
            assert client.get("/readyz").status_code == 200
        folder = metrics_folder(replaced[0])
        assert folder.is_dir()
        assert service.stop() == 0
        for process_id in (*replaced, *redis_ids):
            assert wait_until_gone(process_id)
        assert not folder.exists()


def test_nothing_stays_behind_a_killed_parent(tmp_path: Path) -> None:
    with service_process(data_dir=tmp_path, dimension=DIMENSION, workers=2) as service:
        workers = until_workers(service, 2)
        redis_process = service.redis_process_id()
        folder = metrics_folder(workers[0])
        service.stop(signal.SIGKILL)
        for process_id in (*workers, redis_process):
            assert wait_until_gone(process_id)
        assert not folder.exists()


def test_the_address_is_announced_once(tmp_path: Path) -> None:
    with service_process(data_dir=tmp_path, dimension=DIMENSION, workers=2) as service:
        until_workers(service, 2)
        assert httpx.get(f"{service.url}/livez", timeout=60, verify=NO_TLS).status_code == 200
        assert service.stop() == 0
        assert service.process.stdout is not None
        assert service.process.stdout.read() == ""


@pytest.mark.parametrize("workers", [1, 2])
def test_start_errors_are_one_sentence(workers: int) -> None:
    refused = run_serve(redis_url="redis://:hush@127.0.0.1:1", workers=workers)
    assert refused.returncode != 0
    assert refused.stderr.count("Redis cannot be reached") == 1
    assert "Traceback" not in refused.stderr
    assert "hush" not in refused.stderr
    assert refused.stdout == ""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_in_use_is_one_sentence(tmp_path: Path, workers: int) -> None:
    with service_process(data_dir=tmp_path / "one", dimension=DIMENSION) as service:
        port = httpx.URL(service.url).port
        refused = run_serve(data_dir=tmp_path / "two", workers=workers, port=port)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"Port {port} of 127.0.0.1 is in use: ")
    assert refused.stderr.count("\n") == 1
