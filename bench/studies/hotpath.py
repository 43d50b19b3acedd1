"""What a question over HTTP costs beside the same question to Redis: side by side, in one run.

python -m bench.studies.hotpath

In each round, one after another: redis-py's synchronous client; its asyncio client with 16 and 50
callers; the service with 1, 16 and 50 clients, by one worker and by two. On random vectors and on
the market windows of the demo. Medians of the rounds, ratios of neighbours in a round. Prints the
targets with met or not met and writes docs/hotpath-benchmark.md. Exit status 0 whatever is met:
it says what is, on this machine.
"""

import argparse
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import orjson

from app.storage import keys
from bench.data import DATA_KINDS, DataKind, Moments, workload
from bench.machine import describe_machine, load_line, now_line
from bench.paths import DOCS
from bench.processor_time import exact_processor_time
from bench.service import RunningService, running_service
from bench.studies._batches import SEED, as_base64, connect, memory, store_batch
from bench.studies._closed_loop import post
from bench.studies._hotpath_report import Row, report
from bench.studies._http_load import SEARCH, HttpFigures, HttpLoad
from bench.studies._raw_redis import RawFigures, ask_one_by_one, ask_together, search_command

AGENTS = 10
MEMORIES = 1000
QUESTIONS = 20_000
"""More than the cache keeps, and more than one measurement asks."""
TOP_K = 10
CLIENTS = (1, 16, 50)
CALLERS = (16, 50)
WORKERS = (1, 2)
REPORT = DOCS / "hotpath-benchmark.md"


@dataclass(frozen=True, slots=True)
class Subject:
    """A filled service and the questions to ask it, over HTTP and as Redis is asked."""

    kind: DataKind
    workers: int
    service: RunningService
    agents: tuple[str, ...]
    load: HttpLoad
    commands: list[tuple[str | bytes | int, ...]]


def main() -> int:
    """Measure, print and write the report; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.hotpath")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, the median counts (5)")
    parser.add_argument("--seconds", type=int, default=1, help="of each measurement (1)")
    parser.add_argument("--data", nargs="+", choices=DATA_KINDS, default=list(DATA_KINDS))
    parser.add_argument("--report", type=Path, default=REPORT, help="where the report goes")
    options = parser.parse_args()
    load_before = load_line()
    with ExitStack() as stack:
        subjects = [_subject(kind, workers, stack) for kind in options.data for workers in WORKERS]
        print("filled; measuring", file=sys.stderr)
        rows: list[Row] = []
        for number in range(options.rounds):
            for subject in subjects:
                rows += _round(subject, number, seconds=options.seconds)
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    conditions = (
        f"{now_line()}. {describe_machine().sentence}. "
        f"Load average before {load_before}, after {load_line()} (1, 5, 15 minutes). "
        f"{options.rounds} rounds of {options.seconds} s for each measurement."
    )
    text = report(rows, conditions=conditions, generator=subjects[0].load.generator)
    print(text)
    options.report.write_text(text)
    options.report.with_suffix(".json").write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
    return 0


def _subject(kind: DataKind, workers: int, stack: ExitStack) -> Subject:
    work = workload(
        kind,
        name="hotpath",
        agents=AGENTS,
        memories_each=MEMORIES,
        questions=QUESTIONS,
        dimension=256,
        seed=SEED,
    )
    service = stack.enter_context(running_service({"MEMORY_WORKERS": str(workers)}))
    for agent_id, moments in zip(work.agent_ids, work.stored, strict=True):
        _store(service.port, agent_id, moments)
    bodies, commands = [], []
    for number, vector in enumerate(work.asked.vectors):
        agent_id = work.agent_ids[number % AGENTS]
        body = {"agent_id": agent_id, "state_vector": as_base64(vector), "top_k": TOP_K}
        bodies.append(orjson.dumps(body))
        commands.append(search_command(keys.episodic_index(agent_id), vector.tobytes(), TOP_K))
    requests = [post("/v1/episodic/search", body, kind=SEARCH) for body in bodies]
    return Subject(kind, workers, service, work.agent_ids, HttpLoad(bodies, requests), commands)


def _store(port: int, agent_id: str, moments: Moments) -> None:
    stored = [memory(agent_id, i, as_base64(v)) for i, v in enumerate(moments.vectors)]
    body = orjson.dumps({"memories": stored})
    with connect(port) as connection:
        request = post("/v1/episodic/batch", body, kind="batch")
        store_batch(connection, request, created=len(stored))


def _round(subject: Subject, number: int, *, seconds: int) -> list[Row]:
    """Each way once. A store before each makes the service forget what it has answered."""

    def row(way: str, clients: int, figures: RawFigures | HttpFigures) -> Row:
        return Row(subject.kind, subject.workers, number, way, clients, figures)

    rows = []
    url, commands = subject.service.redis_url, subject.commands
    if subject.workers == 1:
        rows.append(row("sync", 1, ask_one_by_one(url, commands, seconds=seconds)))
    groups = subject.service.processes()
    service_s = exact_processor_time(groups["service"])
    redis_s = exact_processor_time(
        [i for name, ids in groups.items() if name != "service" for i in ids]
    )
    for clients in CLIENTS:
        _forget(subject)
        figures = subject.load.run(
            subject.service.port, clients, seconds=seconds, service_s=service_s, redis_s=redis_s
        )
        rows.append(row("http", clients, figures))
        if clients in CALLERS and subject.workers == 1:
            raw = ask_together(url, commands, clients, seconds=seconds)
            rows.append(row("asyncio", clients, raw))
    return rows


def _forget(subject: Subject) -> None:
    with connect(subject.service.port) as connection:
        for agent_id in subject.agents:
            body = orjson.dumps({"memories": [memory(agent_id, 0, [1.0] * 256)]})
            store_batch(connection, post("/v1/episodic/batch", body, kind="batch"), created=1)


if __name__ == "__main__":
    sys.exit(main())
