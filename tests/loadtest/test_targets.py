from pathlib import Path

import pytest
from pydantic import ValidationError

from bench.paths import TARGETS
from bench.targets import Targets, judge, lines_to_beat, read_targets, unmeasured
from tests.loadtest.rows import every_target, measurement


@pytest.fixture
def targets() -> Targets:
    return read_targets(TARGETS)


def test_the_specifications_targets_are_the_ones_judged(targets: Targets) -> None:
    assert targets.phase1.given() == {"p50_ms": 1.0, "p95_ms": 2.0, "p99_ms": 5.0}
    assert {n: limits.p99_ms for n, limits in targets.phase2.items()} == {10: 10, 20: 15, 50: 30}
    assert targets.lines_to_beat == {1: 0.8, 10: 2.5, 50: 8.0, 100: 15.0}


def test_a_fast_right_run_meets_everything(targets: Targets) -> None:
    rows = every_target()
    assert all(verdict.is_met for verdict in judge(targets, rows))
    assert unmeasured(targets, rows, (1, 2, 3)) == []


def test_a_slow_run_misses(targets: Targets) -> None:
    missed = [v for v in judge(targets, every_target(latency_ms=12.0)) if not v.is_met]
    assert [(v.measurement.agents, v.figure) for v in missed] == [
        *[(1, "P50 ms"), (1, "P95 ms"), (1, "P99 ms")],
        (10, "P99 ms"),
    ]


@pytest.mark.parametrize(
    "row",
    [
        measurement(recall=0.9),
        measurement(failures={"status 503": 1}),
        measurement(partial=1),
    ],
    ids=["wrong", "failed", "partial"],
)
def test_fast_but_wrong_does_not_count(targets: Targets, row: object) -> None:
    verdicts = judge(targets, [row])  # type: ignore[list-item]
    assert sum(not verdict.is_met for verdict in verdicts) == 1


def test_only_locusts_figures_are_judged(targets: Targets) -> None:
    row = measurement(latency_ms=99, loop="lean client, closed loop")
    assert judge(targets, [row]) == []
    assert "phase 1 with 1 agents" in unmeasured(targets, [row], (1,))


def test_a_variant_may_be_left_out(targets: Targets) -> None:
    row = measurement(latency_ms=99, variant="2 replicas")
    assert judge(targets, [row]) == []
    assert unmeasured(targets, [row], (1,)) == ["phase 1 with 1 agents"]


def test_a_target_that_was_not_measured_is_named(targets: Targets) -> None:
    rows = [row for row in every_target() if row.agents != 50]
    assert unmeasured(targets, rows, (1, 2)) == ["phase 2 with 50 agents"]
    assert unmeasured(targets, rows, (1,)) == []


def test_a_level_without_a_target_is_not_judged(targets: Targets) -> None:
    assert judge(targets, [measurement(phase=2, agents=100, latency_ms=500)]) == []
    (line,) = lines_to_beat(targets, [measurement(phase=2, agents=100, latency_ms=500)])
    assert not line.is_met


def test_a_misspelt_target_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "targets.toml"
    path.write_text(TARGETS.read_text().replace("p99_ms = 5.0", "p99 = 5.0"))
    with pytest.raises(ValidationError, match="p99"):
        read_targets(path)
