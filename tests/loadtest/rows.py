"""Measurements made by hand."""

from bench.latency import summarise
from bench.measurement import Checked, Loop, Measurement


def measurement(
    *,
    phase: int = 1,
    agents: int = 1,
    latency_ms: float = 0.5,
    recall: float = 1.0,
    loop: Loop = "Locust, closed loop",
    failures: dict[str, int] | None = None,
    partial: int = 0,
    variant: str = "one node",
) -> Measurement:
    return Measurement(
        phase=phase,
        variant=variant,
        what="search",
        data="random",
        agents=agents,
        loop=loop,
        latency=summarise([latency_ms] * 100),
        rate=1000.0,
        checked=Checked(answers=100, recall=recall, partial=partial),
        failures=failures or {},
    )


def every_target(latency_ms: float = 0.5) -> list[Measurement]:
    """A measurement for everything that the repository's targets speak of."""
    phase_2 = [measurement(phase=2, agents=n, latency_ms=latency_ms) for n in (10, 20, 50)]
    return [measurement(latency_ms=latency_ms), *phase_2]
