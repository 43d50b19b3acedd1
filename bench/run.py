"""`make bench`: the three phases on every variant of the service."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.calibration import Floor, calibrate
from bench.filling import FillError, FillReport
from bench.locust_process import LocustFailed
from bench.machine import Machine, describe_machine, package_versions
from bench.measurement import Measurement
from bench.phases import VariantRun
from bench.plan import Plan, Variant
from bench.processor_time import resident_bytes
from bench.progress import Say
from bench.service import ServiceStartError, running_service, unknown_settings


@dataclass(frozen=True, slots=True)
class VariantResult:
    """What one variant gave. `not_run` says why it gave nothing, or no more."""

    variant: Variant
    measurements: tuple[Measurement, ...] = ()
    fills: dict[str, FillReport] = field(default_factory=dict)
    memory_bytes: dict[str, int] = field(default_factory=dict)
    not_run: str | None = None


@dataclass(frozen=True, slots=True)
class BenchResult:
    """A whole run."""

    plan: Plan
    machine: Machine
    versions: dict[str, str]
    floors: tuple[Floor, ...]
    variants: tuple[VariantResult, ...]
    seconds: float

    @property
    def measurements(self) -> list[Measurement]:
        """Those of all variants."""
        return [m for variant in self.variants for m in variant.measurements]


def run_bench(plan: Plan, say: Say) -> BenchResult:
    """Measure everything. Raises LocustFailed when the calibration cannot be run."""
    started = time.monotonic()
    machine = describe_machine()
    say(f"{machine.sentence}; load average {machine.load_average:.1f}")
    say("the load generator alone, against a server that does nothing")
    floors = calibrate(plan)
    variants = _run_variants(plan, say)
    seconds = time.monotonic() - started
    return BenchResult(plan, machine, package_versions(), tuple(floors), variants, seconds)


def _run_variants(plan: Plan, say: Say) -> tuple[VariantResult, ...]:
    results = []
    for variant in plan.variants:
        say(f"variant: {variant.name}")
        unknown = unknown_settings(variant.settings)
        if unknown:
            reason = f"this version of the service has no {', '.join(unknown)}"
            results.append(VariantResult(variant, not_run=reason))
        else:
            results.append(_run_variant(plan, variant, say))
        if results[-1].not_run is not None:
            say(f"not run: {results[-1].not_run}")
    return tuple(results)


def _run_variant(plan: Plan, variant: Variant, say: Say) -> VariantResult:
    measured: Sequence[Measurement] = ()
    fills: dict[str, FillReport] = {}
    try:
        with running_service(variant.settings) as service:
            watched = service.processes()
            run = VariantRun(variant.name, service.url, plan, watched, say)
            measured, fills = run.measurements, run.fills
            run.run()
            memory = {name: resident_bytes(ids) for name, ids in watched.items()}
    except (ServiceStartError, FillError, LocustFailed) as error:
        return VariantResult(variant, tuple(measured), fills, not_run=str(error))
    return VariantResult(variant, tuple(measured), fills, memory)
