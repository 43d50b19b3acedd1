"""What copies of memories in the service give: with them and without, in turn, in one run.

python -m bench.studies.copies

Agents with 1,000 memories and agents with 10,000, random, of 256 numbers, top 10; one worker. With
--publish it writes docs/benchmarks/copies.json and its page, and refuses on a busy machine. Exit
status: 0 the target was met, 1 it was missed, 2 the machine was too busy.
"""

import argparse
import sys
from contextlib import ExitStack

import numpy as np

from bench.compare.dataset import dataset_of
from bench.data import workload
from bench.idle import may_publish
from bench.machine import describe_machine, now_line
from bench.processor_time import OtherWork, exact_processor_time, wait_until_idle
from bench.progress import Progress
from bench.report import markdown
from bench.studies._batches import SEED
from bench.studies._copies_report import (
    PAGE,
    SUMMARY,
    Row,
    Study,
    copies_report,
    read_study,
    verdict,
    write_study,
)
from bench.studies._hotpath_service import Subject, filled_service

SIZES = {1_000: 10, 10_000: 3}
"""Memories of an agent, and how many agents."""
CLIENTS = (1, 16, 50)
QUESTIONS = 20_000
TOP_K = 10
WITHOUT = {"MEMORY_RESIDENT_MAX_BYTES": "0"}


def main() -> int:
    """Measure, print, write the page, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.copies")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, the median counts (7)")
    parser.add_argument("--seconds", type=int, default=1, help="of each measurement (1)")
    parser.add_argument("--publish", action="store_true", help="write the page; needs quiet")
    options = parser.parse_args()
    say = Progress()
    if options.publish and not may_publish(say):
        return 2
    date, machine = now_line(), describe_machine()
    rows: list[Row] = []
    for memories, agents in SIZES.items():
        with ExitStack() as stack:
            subjects = _subjects(memories, agents, stack)
            say(f"{agents} agents with {memories:,} memories: measuring")
            for number in range(options.rounds):
                for clients in CLIENTS:
                    for is_copied, subject in subjects.items():
                        row = _measure(subject, clients, options.seconds)
                        rows.append(Row(memories, is_copied, clients, number, *row))
    study = Study(
        date=date,
        command=f"make bench-copies ARGS={' '.join(sys.argv[1:])!r}",
        machine=machine.sentence,
        commit=machine.commit,
        load_at_start=machine.load_average,
        load_at_end=describe_machine().load_average,
        recall=min(row.recall for row in rows),
        rows=tuple(rows),
    )
    print(markdown(copies_report(study)))
    if options.publish:
        write_study(study, SUMMARY)
        PAGE.write_text(markdown(copies_report(read_study(SUMMARY))))
    return 0 if verdict(study).is_met else 1


def _subjects(memories: int, agents: int, stack: ExitStack) -> dict[bool, Subject]:
    """Return the filled services, with copies and without."""
    work = workload(
        "random",
        name="copies",
        agents=agents,
        memories_each=memories,
        questions=QUESTIONS,
        dimension=256,
        seed=SEED,
    )
    order = np.random.default_rng(SEED).permutation(work.total)
    data = dataset_of(work, order=order, askers=np.arange(QUESTIONS) % agents)
    subjects = {
        is_copied: filled_service(
            "random",
            work,
            data,
            order=order,
            workers=1,
            top_k=TOP_K,
            stack=stack,
            settings={} if is_copied else WITHOUT,
        )
        for is_copied in (False, True)
    }
    subjects[True].warm_up()
    for subject in subjects.values():
        wait_until_idle(subject.service.processes())
    return subjects


def _measure(
    subject: Subject, clients: int, seconds: int
) -> tuple[float, float, float, float, float, float, float]:
    """Return the figures of a row."""
    subject.forget()
    groups = subject.service.processes()
    others = OtherWork([subject.service.process_id])
    figures = subject.load.run(
        subject.service.port,
        clients,
        seconds=seconds,
        service_s=exact_processor_time(groups["service"]),
        redis_s=exact_processor_time(
            [i for name, ids in groups.items() if name != "service" for i in ids]
        ),
    )
    return (
        figures.rate,
        figures.p50_ms,
        figures.p99_ms,
        figures.service_us,
        figures.redis_us,
        subject.side.recall,
        others.processors(),
    )


if __name__ == "__main__":
    sys.exit(main())
