"""The report of `make bench`."""

from collections.abc import Sequence

from bench.machine import Machine
from bench.machine_report import machine_section
from bench.measurement import Measurement
from bench.plan import Plan
from bench.plots import Line, distribution_plot, line_plot
from bench.report import Figure, Report, Section, Table
from bench.run import BenchResult
from bench.targets import Targets, Verdict, judge, lines_to_beat, unmeasured

BUSY_PROCESSORS = 0.2
"""Work of others that shows in the tails."""
LATENCY_COLUMNS = ("mean ms", "P50 ms", "P95 ms", "P99 ms", "max ms")


def bench_report(result: BenchResult, targets: Targets, date: str, command: str) -> Report:
    """Return the tables and plots of a run."""
    verdicts = judge(targets, result.measurements)
    missing = unmeasured(targets, result.measurements, result.plan.phases)
    return Report(
        title=f"Load test, {date}",
        lead=_lead(verdicts, missing, result.machine),
        sections=(
            Section("Targets", _targets_parts(verdicts, missing, targets.unjudged_variants)),
            *(_phase_section(result, phase) for phase in result.plan.phases),
            Section("Lines to beat", _lines_parts(targets, result.measurements)),
            Section("The load generator's own share", _generator_parts(result)),
            Section("Loading and memory", _loading_parts(result)),
            Section("What was run", _run_parts(result, command)),
            machine_section(result.machine, result.versions),
        ),
    )


def is_passed(result: BenchResult, targets: Targets) -> bool:
    """Return whether every target was measured and met."""
    verdicts = judge(targets, result.measurements)
    missing = unmeasured(targets, result.measurements, result.plan.phases)
    return all(v.is_met for v in verdicts) and not missing


def _lead(verdicts: Sequence[Verdict], missing: Sequence[str], machine: Machine) -> str:
    missed = sum(not verdict.is_met for verdict in verdicts)
    if not missed and not missing:
        return f"PASS: all {len(verdicts)} targets were met."
    return (
        f"FAIL: {missed} of {len(verdicts)} targets were missed"
        + (f", {len(missing)} were not measured" if missing else "")
        + f". {_how_busy(verdicts, machine)}"
    )


def _how_busy(verdicts: Sequence[Verdict], machine: Machine) -> str:
    """Describe what other programs did meanwhile: the first thing to look at after a miss."""
    others = [v.measurement.other_processors for v in verdicts if not v.is_met]
    most = max(others, default=0.0)
    sentence = (
        f"The load average was {machine.load_average:.2f} on {machine.processors} processors when "
        f"the run began, and during the missed runs other programs kept up to {most:.2f} "
        "processors busy"
    )
    if most < BUSY_PROCESSORS and machine.load_average < machine.processors / 2:
        return f"{sentence}: the machine was as good as idle."
    return f"{sentence}: measure again on an idle machine before you believe a missed target."


def _targets_parts(
    verdicts: Sequence[Verdict], missing: Sequence[str], unjudged: Sequence[str]
) -> tuple[str | Table, ...]:
    rows = [
        (
            "met" if v.is_met else "MISSED",
            str(v.measurement.phase),
            str(v.measurement.agents),
            v.measurement.variant,
            v.measurement.data,
            v.figure,
            _limit(v),
            f"{v.measured:.3g}" if v.figure.endswith("partial") else f"{v.measured:.2f}",
            f"{v.measurement.other_processors:.2f}",
        )
        for v in verdicts
    ]
    rows += [("NOT MEASURED", "", "", "", "", what, "", "", "") for what in missing]
    columns = ("", "phase", "agents", "variant", "data", "figure", "target", "measured", "others")
    return (
        "From `loadtest/targets.toml`, against Locust's figures"
        + (f", without the variants {', '.join(unjudged)}" if unjudged else "")
        + ". Recall@10 is against exact brute "
        "force over all answers that were kept (up to 2,000 of a run). `others` is how many "
        "processors the rest of the machine kept busy meanwhile.",
        Table(columns, tuple(rows)),
    )


def _limit(verdict: Verdict) -> str:
    if verdict.figure == "recall@10":
        return f"at least {verdict.limit:g}"
    return "none" if verdict.figure == "failed or partial" else f"< {verdict.limit:g}"


_PHASE_TITLES = {
    1: "Phase 1: one agent",
    2: "Phase 2: concurrent agents",
    3: "Phase 3: an hour of trading",
}


def _phase_section(result: BenchResult, phase: int) -> Section:
    rows = [m for m in result.measurements if m.phase == phase]
    parts: list[str | Table | Figure] = [_phase_text(result, phase)]
    if rows:
        parts += [_latency_table(rows), *_phase_figures(rows, phase)]
    for variant in result.variants:
        if variant.not_run is not None:
            parts.append(f"Variant {variant.variant.name}: not run: {variant.not_run}.")
    return Section(_PHASE_TITLES[phase], tuple(parts))


def _phase_text(result: BenchResult, phase: int) -> str:
    plan = result.plan
    if phase == 1:
        return (
            f"One agent with {plan.phase1_memories:,} memories of {plan.dimension} numbers asks "
            f"{plan.phase1_queries:,} different questions, one after the other."
        )
    if phase == 2:
        return (
            f"Several agents, each with {plan.phase2_memories:,} memories of its own and a "
            "connection of its own, ask at once, each as fast as it is answered: the load is as "
            "high as the service lets it be."
        )
    speed = "" if plan.time_scale == 1 else _scaled(plan)
    return (
        f"{plan.trading_agents} agents, one for each product, with {plan.phase3_memories:,} real "
        "market windows each: a search for similar patterns every 5 s, and at every trade (one in "
        f"30 s on average) a search within the regime and a store.{speed} In the closed loop a "
        "request is sent after the one before was answered; in the open loop it is sent when it "
        "is due and its latency counts from then (corrected for coordinated omission)."
    )


def _scaled(plan: Plan) -> str:
    seconds = 60 * plan.trading_minutes / plan.time_scale
    return (
        f" {plan.trading_minutes:g} minutes of it were run {plan.time_scale:g} times as fast, in "
        f"{seconds:.0f} s: with {plan.time_scale:g} times the requests a second of the real market."
    )


def _latency_table(rows: Sequence[Measurement]) -> Table:
    columns = (
        *("variant", "data", "agents", "what", "measured by", "requests", "per second"),
        *LATENCY_COLUMNS,
        *("recall@10", "failed", "partial", "cached"),
    )
    return Table(columns, tuple(_latency_row(row) for row in rows))


def _latency_row(row: Measurement) -> tuple[str, ...]:
    latency, checked = row.latency, row.checked
    figures = (latency.mean_ms, latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms)
    return (
        *(row.variant, row.data, str(row.agents), row.what, row.loop),
        *(f"{latency.count:,}", f"{row.rate:,.0f}"),
        *(f"{figure:.2f}" for figure in figures),
        "-" if checked.recall is None else f"{checked.recall:.3f}",
        *(str(sum(row.failures.values())), str(checked.partial), str(checked.cached)),
    )


def _phase_figures(rows: Sequence[Measurement], phase: int) -> list[Figure]:
    searches = [row for row in rows if row.what != "store"]
    if phase != 2:
        curves = {_label(row): row.latency.curve_ms for row in searches}
        png = distribution_plot(f"{_PHASE_TITLES[phase]}: latency", curves)
        return [Figure(f"phase{phase}_latency.png", png, "Share of requests answered in time")]
    return [
        Figure("phase2_latency.png", _against_agents(searches, "p99"), "P99 against agents"),
        Figure("phase2_rate.png", _against_agents(searches, "rate"), "Requests/s against agents"),
    ]


def _label(row: Measurement) -> str:
    return ", ".join((row.variant, row.data, row.what, row.loop))


def _against_agents(rows: Sequence[Measurement], figure: str) -> bytes:
    groups: dict[str, list[Measurement]] = {}
    for row in rows:
        groups.setdefault(_label(row), []).append(row)
    is_rate = figure == "rate"
    lines = [
        Line(
            label,
            [m.agents for m in group],
            [m.rate if is_rate else m.latency.p99_ms for m in group],
        )
        for label, group in groups.items()
    ]
    if not is_rate:
        lines.append(Line("target", [10, 20, 50], [10, 15, 30], is_dashed=True))
    title = "Requests a second" if is_rate else "99 % of searches are answered within"
    unit = "requests/s" if is_rate else "P99 (ms)"
    return line_plot(title, lines, x="agents at once", y=unit, is_y_log=not is_rate)


def _lines_parts(targets: Targets, rows: Sequence[Measurement]) -> tuple[str | Table, ...]:
    table = Table(
        ("agents", "variant", "data", "measured by", "published ms", "mean ms here", ""),
        tuple(
            (
                *(str(v.measurement.agents), v.measurement.variant, v.measurement.data),
                *(v.measurement.loop, f"{v.limit:g}", f"{v.measured:.2f}"),
                "beaten" if v.is_met else "not beaten",
            )
            for v in lines_to_beat(targets, rows)
        ),
    )
    return (
        "Published latencies of Redis itself under as many concurrent queries, on other hardware, "
        "without a service in front. They decide nothing here.",
        table,
    )


def _generator_parts(result: BenchResult) -> tuple[str | Table, ...]:
    floors = Table(
        (
            *("agents", "P50 ms", "P99 ms", "requests/s"),
            *("processors busy for Locust", "processor us/request"),
        ),
        tuple(
            (
                *(str(f.agents), f"{f.latency.p50_ms:.2f}", f"{f.latency.p99_ms:.2f}"),
                *(f"{f.rate:,.0f}", f"{f.generator_processors:.2f}"),
                f"{f.processor_us_per_request:.0f}",
            )
            for f in result.floors
        ),
    )
    shares = Table(
        (
            "phase",
            "variant",
            "data",
            "agents",
            "measured by",
            "generator",
            "service",
            "Redis",
            "others",
            "send lag P99 ms",
        ),
        tuple(
            (
                *(str(m.phase), m.variant, m.data, str(m.agents), m.loop),
                *(f"{m.generator_processors:.2f}", f"{m.service_processors:.2f}"),
                *(f"{m.redis_processors:.2f}", f"{m.other_processors:.2f}"),
                f"{m.send_lag_p99_ms:.2f}",
            )
            for m in result.measurements
            if m.what in {"search", "pattern search"}
        ),
    )
    return (
        "The same Locust load against a server that answers at once with a fixed body. No latency "
        "in this report can be below, and no rate above, what Locust reaches here:",
        floors,
        "Processors busy on average while each run was measured. Where the three together come "
        f"near {result.machine.processors}, the generator takes from the service. The lean client "
        "(asyncio and httptools) takes about a third of Locust's processor time; its rows are a "
        "cross-check. Others: what else ran on the machine; where that is not near 0, the tails "
        "are not the service's alone. Send lag: how late requests left the generator.",
        shares,
    )


def _loading_parts(result: BenchResult) -> tuple[str | Table, ...]:
    loading = Table(
        ("variant", "data", "memories", "seconds", "per second", "sent again"),
        tuple(
            (
                *(v.variant.name, label, f"{f.memories:,}", f"{f.seconds:.1f}"),
                *(f"{f.rate:,.0f}", str(f.retries)),
            )
            for v in result.variants
            for label, f in v.fills.items()
        ),
    )
    memory = Table(
        ("variant", "process", "MiB at the end"),
        tuple(
            (v.variant.name, who, f"{size / 2**20:,.0f}")
            for v in result.variants
            for who, size in v.memory_bytes.items()
        ),
    )
    return (
        "Stored through the service, 500 in a request, two requests at a time.",
        loading,
        memory,
    )


def _run_parts(result: BenchResult, command: str) -> tuple[str | Table, ...]:
    plan = result.plan
    settings = Table(
        ("variant", "settings beside the defaults"),
        tuple(
            (
                v.variant.name,
                ", ".join(f"{k}={value}" for k, value in v.variant.settings.items()) or "none",
            )
            for v in result.variants
        ),
    )
    return (
        f"`{command}`, the {plan.name} plan, seed {plan.seed}, vectors sent as {plan.vectors}, "
        f"{result.seconds:.0f} s in all. The same seed gives the same data, questions and times. "
        "Percentiles are of raw samples (no buckets, no interpolation). Requests that failed have "
        "no latency; they are counted and fail the run's targets.",
        settings,
    )
