"""One short real run: `make bench` on a service of its own."""

import asyncio
import re
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.arguments import parse_arguments, plan_of
from bench.data import workload
from bench.filling import FillError, fill
from bench.paths import TARGETS
from bench.service import ServiceStartError, running_service, unknown_settings


@pytest.fixture
def absurd_targets(tmp_path: Path) -> Path:
    path = tmp_path / "targets.toml"
    path.write_text(TARGETS.read_text().replace("p99_ms = 5.0", "p99_ms = 0.001"))
    return path


def test_a_run_that_misses_a_target_says_so_and_fails(
    absurd_targets: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--quick", "--phases", "1", "--data", "random"]
    words += ["--variant", "one", "--variant", "next:MEMORY_NOT_YET_INVENTED=1"]
    words += ["--targets", str(absurd_targets), "--results", str(tmp_path / "results")]
    assert main(words) == 1
    (folder,) = (tmp_path / "results").iterdir()
    text = (folder / "report.md").read_text()
    assert text.count("\nFAIL: ") == 1
    assert "| MISSED | 1 | 1 | one | random | P99 ms | < 0.001 |" in text
    assert "| met | 1 | 1 | one | random | recall@10 | at least 0.95 | 1.00 |" in text
    assert "next: not run: this version of the service has no MEMORY_NOT_YET_INVENTED" in text
    assert "Locust, closed loop | 1,000 |" in text
    said = capfd.readouterr().out
    assert re.search(r"FAIL: .* load average was \d+\.\d\d on \d+ processors", said)
    assert re.search(r"other programs kept up to \d+\.\d\d processors busy", said)


def test_the_exit_status_tells_a_wrong_targets_file_from_a_missed_target(tmp_path: Path) -> None:
    assert main(["run", "--targets", str(tmp_path / "absent.toml")]) == 2


def test_settings_reach_every_variant() -> None:
    words = ["run", "--set", "MEMORY_WORKERS=2", "--variant", "a", "--variant", "b:MEMORY_X=1"]
    plan = plan_of(parse_arguments(words))
    assert [(v.name, v.settings) for v in plan.variants] == [
        ("a", {"MEMORY_WORKERS": "2"}),
        ("b", {"MEMORY_WORKERS": "2", "MEMORY_X": "1"}),
    ]


def test_unknown_settings_are_named() -> None:
    assert unknown_settings({"MEMORY_PORT": "0", "MEMORY_NO_SUCH": "1"}) == ["MEMORY_NO_SUCH"]


def test_a_service_that_does_not_start_says_why() -> None:
    with (
        pytest.raises(ServiceStartError, match="MEMORY_DIMENSION"),
        running_service({"MEMORY_DIMENSION": "1"}),
    ):
        pass


def test_storing_twice_doubles_nothing_and_a_refusal_is_an_error() -> None:
    made = workload(
        "random", name="t", agents=3, memories_each=40, questions=1, dimension=16, seed=1
    )
    progress: list[int] = []
    with running_service({"MEMORY_DIMENSION": "16"}) as service:
        assert fill(service.url, made, progress.append).created == 120
        assert sum(progress) == 120
        assert fill(service.url, made, progress.append).created == 0
        wrong = workload(
            "random", name="t", agents=1, memories_each=1, questions=1, dimension=8, seed=1
        )
        with pytest.raises(FillError, match="16"):
            fill(service.url, wrong, progress.append)


async def test_a_busy_service_is_asked_again_and_that_is_counted() -> None:
    made = workload("random", name="t", agents=1, memories_each=3, questions=1, dimension=4, seed=1)
    busy = b'{"status":503,"retryable":true}'
    stored = b'{"results":' + str([{"status": "created"}] * 3).replace("'", '"').encode() + b"}"
    answers = iter([(503, busy), (503, busy), (200, stored)])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for status, body in answers:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split()[0]))
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            writer.write(body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    report = await asyncio.to_thread(fill, url, made, lambda _: None)
    assert (report.created, report.retries) == (3, 2)
    server.close()
    await server.wait_closed()
