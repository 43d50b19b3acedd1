"""What must be reached (`loadtest/targets.toml`), and whether it was."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from bench.latency import LatencySummary
from bench.measurement import Measurement

JUDGED_LOOP = "Locust, closed loop"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Strict):
    """Upper limits in milliseconds; what is left out is not judged."""

    mean_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None

    def given(self) -> dict[str, float]:
        """Return the limits that are set, by name."""
        return self.model_dump(exclude_none=True)


class Targets(_Strict):
    """`phase2` is by number of agents. `lines_to_beat` are means in ms by number of agents."""

    min_recall: float = Field(ge=0, le=1)
    unjudged_variants: tuple[str, ...] = ()
    phase1: Limits
    phase2: dict[int, Limits]
    lines_to_beat: dict[int, float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One figure of a measurement against its limit."""

    measurement: Measurement
    figure: str
    limit: float
    measured: float
    is_met: bool


def read_targets(path: Path) -> Targets:
    """Read the targets. Raises OSError, tomllib.TOMLDecodeError, pydantic.ValidationError."""
    return Targets.model_validate(tomllib.loads(path.read_text("utf-8")))


def judge(targets: Targets, measurements: Sequence[Measurement]) -> list[Verdict]:
    """Return a verdict for every limit of every measurement that has limits, but for unjudged
    variants.

    Only Locust's figures are judged. A measurement with failed requests, with partial answers or
    with too low a recall meets nothing, however fast it was.
    """
    verdicts = []
    for measurement in measurements:
        if not _is_judged(targets, measurement):
            continue
        limits = _limits(targets, measurement).given()
        verdicts += [
            _verdict(measurement, f"{figure.removesuffix('_ms').upper()} ms", limit, measured)
            for figure, limit in limits.items()
            for measured in [_figure(measurement.latency, figure)]
        ]
        if limits:
            verdicts += _verdicts_on_answers(targets, measurement)
    return verdicts


def unmeasured(
    targets: Targets, measurements: Sequence[Measurement], phases: Sequence[int]
) -> list[str]:
    """Return targets of `phases` without a measurement: a run that broke off has not met them."""
    there = {(m.phase, m.agents) for m in measurements if _is_judged(targets, m)}
    wanted = {(1, 1): targets.phase1} | {(2, n): limits for n, limits in targets.phase2.items()}
    return [
        f"phase {phase} with {agents} agents"
        for (phase, agents), limits in wanted.items()
        if phase in phases and limits.given() and (phase, agents) not in there
    ]


def lines_to_beat(targets: Targets, measurements: Sequence[Measurement]) -> list[Verdict]:
    """Compare the published latencies under concurrency with the mean; they fail no run."""
    return [
        _verdict(m, "mean ms", targets.lines_to_beat[m.agents], m.latency.mean_ms)
        for m in measurements
        if m.phase == 2 and m.agents in targets.lines_to_beat
    ]


def _is_judged(targets: Targets, measurement: Measurement) -> bool:
    return measurement.loop == JUDGED_LOOP and measurement.variant not in targets.unjudged_variants


def _limits(targets: Targets, measurement: Measurement) -> Limits:
    if measurement.phase == 1:
        return targets.phase1
    if measurement.phase == 2:
        return targets.phase2.get(measurement.agents, Limits())
    return Limits()


def _figure(latency: LatencySummary, name: str) -> float:
    return float(getattr(latency, name))


def _verdict(measurement: Measurement, figure: str, limit: float, measured: float) -> Verdict:
    return Verdict(measurement, figure, limit, measured, is_met=measured < limit)


def _verdicts_on_answers(targets: Targets, measurement: Measurement) -> list[Verdict]:
    checked = measurement.checked
    recall = checked.recall or 0.0
    wrong = sum(measurement.failures.values()) + checked.partial
    return [
        Verdict(measurement, "recall@10", targets.min_recall, recall, recall >= targets.min_recall),
        Verdict(measurement, "failed or partial", 0, wrong, wrong == 0),
    ]
