"""VectorDBBench's multi-tenant case against the service, with recall within the tenant.

python -m bench.studies.vectordbbench

Makes the data in the form that VectorDBBench reads, starts the service, and lets the package's own
runners load and search (bench/vectordbbench/README.md). The package's environment gets the client
of bench/vectordbbench first. With --publish it writes docs/benchmarks/vectordbbench.json and its
page. Exit status: 0 recall was whole, 1 it was not, 2 the machine was too busy.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import TypeAdapter

from bench.compare.summary import as_rounded_json
from bench.data import workload
from bench.idle import may_publish
from bench.machine import describe_machine, now_line
from bench.paths import BENCHMARKS, REPOSITORY
from bench.processor_time import OtherWork
from bench.progress import Progress
from bench.recall import unit
from bench.report import Report, Section, Table, markdown
from bench.service import running_service

FOLDER = REPOSITORY / "bench/vectordbbench"
PYTHON = REPOSITORY / ".venv-vectordbbench/bin/python"
SUMMARY = BENCHMARKS / "vectordbbench.json"
PAGE = BENCHMARKS / "vectordbbench.md"
MIN_RECALL = 0.999
LONGEST_S = 1_200.0
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Result:
    """What the package measured; latencies in ms. `others`: processors that others kept busy."""

    date: str
    machine: str
    commit: str
    load_at_start: float
    others: float
    rows: int
    numbers: int
    tenants: int
    top_k: int
    questions: int
    recall: float
    load_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    callers: tuple[int, ...]
    searches_per_second: tuple[float, ...]
    callers_p50_ms: tuple[float, ...]
    callers_p99_ms: tuple[float, ...]


def main() -> int:
    """Measure, print, write the page, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.vectordbbench")
    parser.add_argument("--python", type=Path, default=PYTHON, help="that has the package")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--tenants", type=int, default=250)
    parser.add_argument("--questions", type=int, default=1_000)
    parser.add_argument("--top-k", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=5, help="of each number of callers")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--publish", action="store_true", help="write the page; needs quiet")
    options = parser.parse_args()
    say = Progress()
    if options.publish and not may_publish(say):
        return 2
    result = _measure(options)
    text = markdown(vectordbbench_report(result))
    print(text)
    if options.publish:
        SUMMARY.write_bytes(as_rounded_json(result))
        # The summary is rounded, and the page is that of the summary.
        PAGE.write_text(markdown(vectordbbench_report(read_result(SUMMARY))))
    return 0 if result.recall >= MIN_RECALL else 1


def _measure(options: argparse.Namespace) -> Result:
    date, machine = now_line(), describe_machine()
    install_client(options.python)
    with (
        tempfile.TemporaryDirectory(prefix="vectordbbench-") as folder,
        running_service({}) as service,
    ):
        stored, asked = _data(options)
        write_data(Path(folder), stored, asked, tenants=options.tenants, top_k=options.top_k)
        others = OtherWork([service.process_id])
        subprocess.run(
            [options.python, FOLDER / "multi_tenant.py", folder, service.url]
            + [str(n) for n in (options.tenants, options.top_k, options.seconds)]
            + [str(n) for n in options.callers],
            check=True,
            timeout=LONGEST_S,
        )
        found: dict[str, Any] = orjson.loads((Path(folder) / "result.json").read_bytes())
        busy = others.processors()
    return Result(
        date=date,
        machine=machine.sentence,
        commit=machine.commit,
        load_at_start=machine.load_average,
        others=busy,
        rows=len(stored),
        numbers=stored.shape[1],
        tenants=options.tenants,
        top_k=options.top_k,
        questions=len(asked),
        recall=found["recall"],
        load_s=found["load_duration"],
        p50_ms=found["serial_latency_p50"] * 1e3,
        p95_ms=found["serial_latency_p95"] * 1e3,
        p99_ms=found["serial_latency_p99"] * 1e3,
        callers=tuple(found["conc_num_list"]),
        searches_per_second=tuple(found["conc_qps_list"]),
        callers_p50_ms=tuple(1e3 * s for s in found["conc_latency_p50_list"]),
        callers_p99_ms=tuple(1e3 * s for s in found["conc_latency_p99_list"]),
    )


def install_client(python: Path) -> None:
    """Install the client in the package's environment as the patch does upstream. Repeatable."""
    where = (
        "import vectordb_bench, pathlib; print(pathlib.Path(vectordb_bench.__file__).parents[1])"
    )
    said = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True)
    packages = Path(said.stdout.strip().splitlines()[-1])
    clients = packages / "vectordb_bench/backend/clients"
    patch = ["patch", "--strip=1", "--directory", str(packages), "--input"]
    if "CoinswarmMemory" not in (clients / "__init__.py").read_text("utf-8"):
        subprocess.run([*patch, FOLDER / "upstream.patch"], check=True, capture_output=True)
    target = clients / "coinswarm_memory"
    target.mkdir(exist_ok=True)
    for source in sorted((FOLDER / "coinswarm_memory").glob("*.py")):
        (target / source.name).write_bytes(source.read_bytes())


def _data(options: argparse.Namespace) -> tuple[Vectors, Vectors]:
    """Return real market windows. Row i belongs to tenant i modulo the number of tenants, as
    upstream."""
    made = workload(
        "market",
        name="vectordbbench",
        agents=options.tenants,
        memories_each=options.rows // options.tenants,
        questions=options.questions,
        dimension=256,
        seed=1,
    )
    by_tenant = np.stack([moments.vectors for moments in made.stored])
    stored = by_tenant.transpose(1, 0, 2).reshape(-1, by_tenant.shape[2])
    return np.ascontiguousarray(stored), made.asked.vectors


def write_data(folder: Path, stored: Vectors, asked: Vectors, *, tenants: int, top_k: int) -> None:
    """Write train, test and true neighbours in the files that VectorDBBench reads.

    Its serial search asks question i of the tenant that `random.Random(0)` draws for it.
    """
    draw = random.Random(0)
    askers = [draw.randrange(tenants) for _ in asked]
    directions, questions = unit(stored), unit(asked)
    neighbours = []
    for question, tenant in zip(questions, askers, strict=True):
        rows = np.arange(tenant, len(stored), tenants)
        nearest = np.argsort(-(directions[rows] @ question), kind="stable")[:top_k]
        neighbours.append(rows[nearest].tolist())
    data = folder / "own" / "data"
    data.mkdir(parents=True)
    about = {"rows": len(stored), "numbers": int(stored.shape[1])}
    (folder / "about.json").write_bytes(orjson.dumps(about))
    _write(data / "train.parquet", "emb", stored.tolist(), pa.float32())
    _write(data / "test.parquet", "emb", asked.tolist(), pa.float32())
    _write(data / "neighbors.parquet", "neighbors_id", neighbours, pa.int64())


def _write(path: Path, name: str, values: list[Any], kind: pa.DataType) -> None:
    ids = pa.array(np.arange(len(values)))
    pq.write_table(pa.table({"id": ids, name: pa.array(values, pa.list_(kind))}), path)


def vectordbbench_report(result: Result) -> Report:
    """Return the figures as the package gives them."""
    outcome = "PASS" if result.recall >= MIN_RECALL else "FAIL"
    figures = zip(
        result.callers,
        result.searches_per_second,
        result.callers_p50_ms,
        result.callers_p99_ms,
        strict=True,
    )
    return Report(
        title=f"VectorDBBench's multi-tenant case, {result.date}",
        lead=(
            f"{outcome}: recall@{result.top_k} {result.recall:.4f} within the tenant. "
            f"{result.rows:,} real market windows of {result.numbers} numbers in {result.tenants} "
            f"tenants, {result.questions:,} questions. {result.machine}. Commit {result.commit}. "
            f"Load average {result.load_at_start:.2f} at the start; meanwhile other programs kept "
            f"{result.others:.2f} processors busy (the package's own callers among them)."
        ),
        sections=(
            Section(
                "Figures",
                (
                    "`make bench-vectordbbench`: VectorDBBench 2.0.0 loads and searches by its own "
                    "runners, through the client of `bench/vectordbbench`. Its case leaves recall "
                    "out; here it is measured, against brute force within the tenant. The callers "
                    "are Python processes, which take most of the two processors: compare these "
                    "figures with others of this package, not with those of a lean generator.",
                    Table(
                        ("callers", "searches/s", "P50 ms", "P99 ms"),
                        (
                            ("serial", "-", f"{result.p50_ms:.2f}", f"{result.p99_ms:.2f}"),
                            *(
                                (str(n), f"{rate:,.0f}", f"{p50:.2f}", f"{p99:.2f}")
                                for n, rate, p50, p99 in figures
                            ),
                        ),
                    ),
                    f"Loading: {result.load_s:.1f} s, through one connection.",
                ),
            ),
        ),
    )


def read_result(path: Path) -> Result:
    """Return what was published. Raises OSError, pydantic.ValidationError."""
    return TypeAdapter(Result).validate_json(path.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
