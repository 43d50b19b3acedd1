"""Many callers at once: closed and open loop, one worker and two, base64 and arrays of numbers.

python -m bench.studies.concurrency

One hundred agents with 1,000 memories of 256 numbers each; one service with one worker and one with
two, both loaded throughout, asked in turn in each round. With --publish it writes
docs/benchmarks/concurrency.json and its page, and refuses on a busy machine. Exit status: 0 every
target was met, 1 one was missed, 2 the machine was too busy.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import orjson

from bench.compare.dataset import Dataset, dataset_of
from bench.data import Workload, workload
from bench.http_client import post_request
from bench.idle import may_publish
from bench.latency import percentiles
from bench.load.http_load import SEARCH_PATH, HttpLoad
from bench.machine import describe_machine, now_line
from bench.open_loop import TimedRequest, open_loop, run_precisely
from bench.paths import BENCHMARKS
from bench.processor_time import OtherWork, exact_processor_time, wait_until_idle
from bench.progress import Progress
from bench.report import markdown
from bench.studies._batches import SEED
from bench.studies._concurrency_report import (
    CLOSED,
    NUMBERS,
    OPEN,
    Row,
    Study,
    concurrency_report,
    read_study,
    verdicts,
    write_study,
)
from bench.studies._hotpath_service import Subject, filled_service

AGENTS = 100
MEMORIES = 1_000
QUESTIONS = 20_000
TOP_K = 10
CLIENTS = (1, 10, 50, 100)
WORKERS = (1, 2)
OPEN_RATE = 1_000
WARM_UP = 200
SUMMARY = BENCHMARKS / "concurrency.json"
PAGE = BENCHMARKS / "concurrency.md"


@dataclass(frozen=True, slots=True)
class Target:
    """A filled service with its questions, as base64 (the subject's own) and as numbers."""

    subject: Subject
    numbers: HttpLoad
    requests: Sequence[bytes]


def main() -> int:
    """Measure, print, write the page, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.concurrency")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, the median counts (5)")
    parser.add_argument("--seconds", type=int, default=1, help="of each closed loop (1)")
    parser.add_argument("--open-seconds", type=int, default=3, help="of each open loop (3)")
    parser.add_argument("--agents", type=int, default=AGENTS, help="with 1,000 memories each (100)")
    parser.add_argument("--publish", action="store_true", help="write the page; needs quiet")
    parser.add_argument("--summary", type=Path, default=SUMMARY)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    say = Progress()
    if options.publish and not may_publish(say):
        return 2
    date, machine = now_line(), describe_machine()
    with ExitStack() as stack:
        targets = _targets(options.agents, stack)
        for target in targets:
            target.subject.warm_up()
            wait_until_idle(target.subject.service.processes())
        say("filled; measuring")
        rows: list[Row] = []
        for number in range(options.rounds):
            for target in targets:
                rows += _round(target, number, options)
            say(f"round {number + 1} of {options.rounds}")
        study = Study(
            date=date,
            command=f"make bench-concurrency ARGS={' '.join(sys.argv[1:])!r}",
            machine=machine.sentence,
            commit=machine.commit,
            generator=targets[0].numbers.generator,
            agents=options.agents,
            memories=MEMORIES,
            recall=min(target.subject.side.recall for target in targets),
            load_at_start=machine.load_average,
            load_at_end=describe_machine().load_average,
            rows=tuple(rows),
        )
    text = markdown(concurrency_report(study))
    print(text)
    if options.publish:
        write_study(study, options.summary)
        # The summary is rounded, and the page is that of the summary.
        options.page.write_text(markdown(concurrency_report(read_study(options.summary))))
    return 0 if all(verdict.is_met for verdict in verdicts(study)) else 1


def _targets(agents: int, stack: ExitStack) -> list[Target]:
    work = workload(
        "random",
        name="concurrency",
        agents=agents,
        memories_each=MEMORIES,
        questions=QUESTIONS,
        dimension=256,
        seed=SEED,
    )
    order = np.random.default_rng(SEED).permutation(work.total)
    data = dataset_of(work, order=order, askers=np.arange(QUESTIONS) % agents)
    return [
        _target(
            filled_service(
                "random", work, data, order=order, workers=workers, top_k=TOP_K, stack=stack
            ),
            work,
            data,
            stack,
        )
        for workers in WORKERS
    ]


def _target(subject: Subject, work: Workload, data: Dataset, stack: ExitStack) -> Target:
    bodies = [
        orjson.dumps(
            {"agent_id": work.agent_ids[agent], "top_k": TOP_K, "state_vector": vector},
            option=orjson.OPT_SERIALIZE_NUMPY,
        )
        for vector, agent in zip(data.asked, data.askers.tolist(), strict=True)
    ]
    numbers = HttpLoad(SEARCH_PATH, bodies)
    stack.callback(numbers.close)
    url = subject.service.url
    return Target(subject, numbers, [post_request(url, SEARCH_PATH, body) for body in bodies])


def _round(target: Target, number: int, options: argparse.Namespace) -> list[Row]:
    subject = target.subject
    rows = []
    for clients in CLIENTS:
        for loop, load in ((CLOSED, subject.load), (NUMBERS, target.numbers)):
            if loop == CLOSED or clients == 1:
                figures = _closed(subject, load, clients, options.seconds)
                rows.append(replace(figures, loop=loop, round=number))
    rows.append(_open(target, number, options.open_seconds))
    return rows


def _closed(subject: Subject, load: HttpLoad, clients: int, seconds: int) -> Row:
    subject.forget()
    groups = subject.service.processes()
    service_s = exact_processor_time(groups["service"])
    redis_s = exact_processor_time(
        [i for name, ids in groups.items() if name != "service" for i in ids]
    )
    others = OtherWork([subject.service.process_id])
    figures = load.run(
        subject.service.port, clients, seconds=seconds, service_s=service_s, redis_s=redis_s
    )
    return Row(
        loop=CLOSED,
        workers=subject.workers,
        clients=clients,
        round=0,
        rate=figures.rate,
        mean_ms=figures.mean_ms,
        p50_ms=figures.p50_ms,
        p99_ms=figures.p99_ms,
        service=figures.service_us * figures.rate / 1e6,
        redis=figures.redis_us * figures.rate / 1e6,
        generator=figures.generator_share,
        others=others.processors(),
    )


def _open(target: Target, number: int, seconds: int) -> Row:
    """Send requests at random moments (a Poisson process), whatever has been answered."""
    subject = target.subject
    subject.forget()
    count = OPEN_RATE * seconds
    gaps = np.random.default_rng([SEED, number]).exponential(1 / OPEN_RATE, count)
    first = number * count
    timed = [
        TimedRequest(
            float(due_s),
            target.requests[(first + i) % len(target.requests)],
            kind="search",
            agent=0,
            item=i,
            is_search=False,
        )
        for i, due_s in enumerate(np.cumsum(gaps))
    ]
    others = OtherWork([subject.service.process_id])
    samples = run_precisely(
        lambda: open_loop(
            subject.service.url,
            timed,
            warm_up=target.requests[-WARM_UP:],
            watched=subject.service.processes(),
            connections=50,
        )
    )
    latencies = [r.done_ms - r.due_ms for r in samples.requests if r.is_ok]
    if len(latencies) < count:
        raise RuntimeError(f"{count - len(latencies)} of {count} requests failed")
    p50, p99 = percentiles(latencies, (50, 99))
    processor = samples.processor
    return Row(
        loop=OPEN,
        workers=subject.workers,
        clients=0,
        round=number,
        rate=count / processor.wall_s,
        mean_ms=float(np.mean(latencies)),
        p50_ms=float(p50),
        p99_ms=float(p99),
        service=processor.cores("service"),
        redis=processor.cores("redis"),
        generator=processor.cores("generator"),
        others=others.processors(),
    )


if __name__ == "__main__":
    sys.exit(main())
