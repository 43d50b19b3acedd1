"""What a question over HTTP costs beside the same question to Redis: side by side, in one run.

python -m bench.studies.hotpath

In each round, one after another: redis-py's synchronous client; its asyncio client with 16 and 50
callers; the service with 1, 16 and 50 clients, by one worker and by two; Chroma's server over HTTP
with 1 and 16; Qdrant's engine in process. On random vectors and on the market windows of the demo.
Medians of the rounds, ratios of neighbours in a round. Prints the targets with met or not met and
writes docs/benchmarks/hotpath-results.md. Exit status 0 whatever is met: it reports,
it does not judge.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.compare.dataset import dataset_of
from bench.data import DATA_KINDS, DataKind, workload
from bench.machine import describe_machine, load_line, now_line
from bench.paths import BENCHMARKS, PEERS_PYTHON
from bench.processor_time import exact_processor_time, wait_until_idle
from bench.studies._batches import SEED
from bench.studies._hotpath_report import as_json, report
from bench.studies._hotpath_rows import ASYNCIO, CHROMA, QDRANT, SERVICE, SYNC, Figures, Row
from bench.studies._hotpath_service import CHECKED, Subject, filled_service
from bench.studies._peer import MIN_RECALL, Peer
from bench.studies._raw_redis import ask_one_by_one, ask_together

AGENTS = 10
MEMORIES = 1000
QUESTIONS = 20_000
"""More than the cache keeps, and more than one measurement asks."""
TOP_K = 10
CLIENTS = (1, 16, 50)
CALLERS = (16, 50)
WORKERS = (1, 2)
PEERS = (CHROMA, QDRANT)
PEER_CLIENTS = (1, 16)
REPORT = BENCHMARKS / "hotpath-results.md"


@dataclass(frozen=True, slots=True)
class Opponents:
    """What is asked about one kind of vectors: the service by each number of workers, and peers."""

    subjects: tuple[Subject, ...]
    peers: tuple[Peer, ...]


def main() -> int:
    """Measure, print, write the report, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.hotpath")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, the median counts (5)")
    parser.add_argument("--seconds", type=int, default=1, help="of each measurement (1)")
    parser.add_argument("--data", nargs="+", choices=DATA_KINDS, default=list(DATA_KINDS))
    parser.add_argument(
        "--peers", type=Path, default=PEERS_PYTHON, help="a Python that has Chroma and Qdrant"
    )
    parser.add_argument("--report", type=Path, default=REPORT, help="where the report goes")
    options = parser.parse_args()
    load_before = load_line()
    with ExitStack() as stack:
        opponents = [_opponents(kind, options.peers, stack) for kind in options.data]
        for each in opponents:
            for peer in each.peers:
                peer.wait()
            for subject in each.subjects:
                subject.warm_up()
                wait_until_idle(subject.service.processes())
        print("filled; measuring", file=sys.stderr)
        rows: list[Row] = []
        for number in range(options.rounds):
            for each in opponents:
                for subject in each.subjects:
                    rows += _round(subject, each.peers, number, seconds=options.seconds)
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    sides = [
        side
        for each in opponents
        for side in (each.subjects[0].side, *(peer.side() for peer in each.peers))
    ]
    conditions = (
        f"{now_line()}. {describe_machine().sentence}. "
        f"Load average before {load_before}, after {load_line()} (1, 5, 15 minutes). "
        f"{options.rounds} rounds of {options.seconds} s for each measurement."
    )
    generator = opponents[0].subjects[0].load.generator
    text = report(
        rows, sides, conditions=conditions, generator=generator, checked=CHECKED, least=MIN_RECALL
    )
    print(text)
    options.report.write_text(text)
    options.report.with_suffix(".json").write_bytes(as_json(rows, sides))
    return 0


def _opponents(kind: DataKind, python: Path, stack: ExitStack) -> Opponents:
    """Let the peers begin to load, which takes longest, then fill the services."""
    work = workload(
        kind,
        name="hotpath",
        agents=AGENTS,
        memories_each=MEMORIES,
        questions=QUESTIONS,
        dimension=256,
        seed=SEED,
    )
    order = np.random.default_rng(SEED).permutation(work.total)
    askers = np.arange(QUESTIONS) % AGENTS
    data = dataset_of(work, order=order, askers=askers)
    path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hotpath-"))) / "data.npz"
    data.save(path)
    peers = tuple(Peer(name, kind, path, python=python) for name in PEERS)
    for peer in peers:
        stack.callback(peer.close)
    subjects = (
        filled_service(kind, work, data, order=order, workers=n, top_k=TOP_K, stack=stack)
        for n in WORKERS
    )
    return Opponents(tuple(subjects), peers)


def _round(subject: Subject, peers: Sequence[Peer], number: int, *, seconds: int) -> list[Row]:
    """Ask each way once; what is compared is asked within neighbouring seconds."""

    def row(way: str, clients: int, figures: Figures) -> Row:
        return Row(subject.kind, subject.workers, number, way, clients, figures)

    rows = []
    is_alone = subject.workers == 1
    url, commands = subject.service.redis_url, subject.commands
    if is_alone:
        rows.append(row(SYNC, 1, ask_one_by_one(url, commands, seconds=seconds)))
    groups = subject.service.processes()
    service_s = exact_processor_time(groups["service"])
    redis_s = exact_processor_time(
        [i for name, ids in groups.items() if name != "service" for i in ids]
    )
    for clients in CLIENTS:
        subject.forget()
        figures = subject.load.run(
            subject.service.port, clients, seconds=seconds, service_s=service_s, redis_s=redis_s
        )
        rows.append(row(SERVICE, clients, figures))
        if is_alone and clients in CALLERS:
            raw = ask_together(url, commands, clients, seconds=seconds)
            rows.append(row(ASYNCIO, clients, raw))
        if is_alone and clients in PEER_CLIENTS:
            for peer in peers:
                rows += peer.ask(number, clients=clients, seconds=seconds)
    return rows


if __name__ == "__main__":
    sys.exit(main())
