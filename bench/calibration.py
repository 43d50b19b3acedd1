"""What the load generator alone costs: the same load against a server that does nothing."""

from dataclasses import dataclass

from bench.latency import LatencySummary, summarise
from bench.locust_process import run_locust
from bench.phases import LEVEL_TIMEOUT_S
from bench.plan import Plan
from bench.processor_time import GENERATOR
from bench.responder import running_responder

QUERIES = 2_000


@dataclass(frozen=True, slots=True)
class Floor:
    """With `agents` users: no latency measured with this generator is below, no rate above."""

    agents: int
    latency: LatencySummary
    rate: float
    generator_processors: float
    processor_us_per_request: float


def calibrate(plan: Plan) -> list[Floor]:
    """Measure Locust against `bench.responder`, at several levels."""
    with running_responder() as (url, process_id):
        return [_floor(plan, agents, url, process_id) for agents in plan.calibration_levels]


def _floor(plan: Plan, agents: int, url: str, process_id: int) -> Floor:
    samples = run_locust(
        "ConcurrentAgent",
        url=url,
        users=agents,
        options=[
            *("--queries", str(-(-QUERIES // agents)), "--agents", str(agents), "--memories", "1"),
            *("--vectors", plan.vectors, "--seed", str(plan.seed), "--no-fill", "--no-answers"),
            *("--dimension", str(plan.dimension)),
        ],
        watched={"responder": [process_id]},
        timeout_s=LEVEL_TIMEOUT_S,
    )
    count = len(samples.requests)
    return Floor(
        agents=agents,
        latency=summarise([r.done_ms - r.sent_ms for r in samples.requests]),
        rate=count / samples.processor.wall_s,
        generator_processors=samples.processor.cores(GENERATOR),
        processor_us_per_request=samples.processor.seconds[GENERATOR] / count * 1e6,
    )
