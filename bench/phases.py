"""The three phases of the specification's plan, against one running service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.bodies import SEARCH, search_bodies
from bench.data import QUESTIONS, DataKind, Workload, market_history, workload
from bench.filling import FillReport, fill
from bench.http_client import post_request
from bench.locust_process import run_locust
from bench.measurement import Checked, Measurement, check_searches, check_trading, measure
from bench.open_loop import TimedRequest, closed_loop, open_loop, run_precisely
from bench.plan import Plan
from bench.processor_time import wait_until_idle
from bench.progress import Say
from bench.samples import Samples
from bench.trading_bodies import TradingDay
from bench.trading_day import EventKind, trading_plan

WARM_UP = 100
"""Unmeasured questions before each run, shared by its agents."""

LEAST_WARM_UP = 10
LEVEL_TIMEOUT_S = 300.0
SEARCH_KINDS: tuple[EventKind, ...] = ("pattern search", "trade search")


@dataclass(slots=True)
class VariantRun:
    """What is measured on one service. `fills` are loading times by data set."""

    variant: str
    url: str
    plan: Plan
    watched: Mapping[str, list[int]]
    say: Say
    measurements: list[Measurement] = field(default_factory=list)
    fills: dict[str, FillReport] = field(default_factory=dict)
    _next_question: int = 0

    def run(self) -> None:
        """Run the plan's phases."""
        if 1 in self.plan.phases:
            for data in self.plan.phase1_data:
                self._phase_1(data)
        if 2 in self.plan.phases:
            for data in self.plan.phase2_data:
                self._phase_2(data)
        if 3 in self.plan.phases:
            self._phase_3()

    def _phase_1(self, data: DataKind) -> None:
        plan = self.plan
        stored = self._stored("single", data, agents=1, memories_each=plan.phase1_memories)
        self.say(f"phase 1, {data}: {plan.phase1_queries:,} queries of one agent")
        samples = self._locust(
            "SingleAgent",
            users=1,
            data=data,
            options=self._questions(plan.phase1_queries, users=1),
            memories=plan.phase1_memories,
        )
        self._add_searches(samples, stored, phase=1, data=data, agents=1)
        samples = self._lean(stored, agents=1, queries_each=plan.phase1_queries, phase=1)
        self._add_searches(samples, stored, phase=1, data=data, agents=1, is_lean=True)

    def _phase_2(self, data: DataKind) -> None:
        plan = self.plan
        stored = self._stored(
            "swarm", data, agents=max(plan.phase2_levels), memories_each=plan.phase2_memories
        )
        for agents in plan.phase2_levels:
            each = plan.queries_each(agents)
            self.say(f"phase 2, {data}: {agents} agents at once, {each} queries each")
            samples = self._locust(
                "ConcurrentAgent",
                users=agents,
                data=data,
                options=[*self._questions(each, users=agents), "--agents", str(agents)],
                memories=plan.phase2_memories,
            )
            self._add_searches(samples, stored, phase=2, data=data, agents=agents)
            samples = self._lean(stored, agents=agents, queries_each=each, phase=2)
            self._add_searches(samples, stored, phase=2, data=data, agents=agents, is_lean=True)

    def _phase_3(self) -> None:
        self._trade_in_a_closed_loop(self._trading_day("closed"))
        self._trade_in_an_open_loop(self._trading_day("open"))

    def _trading_day(self, run_id: str) -> TradingDay:
        plan = self.plan
        day = TradingDay(
            market_history(),
            agents=plan.trading_agents,
            memories_each=plan.phase3_memories,
            form=plan.vectors,
            run_id=run_id,
        )
        self._fill(f"trading, {run_id} loop", day.workload)
        return day

    def _trade_in_a_closed_loop(self, day: TradingDay) -> None:
        plan = self.plan
        minutes = plan.trading_minutes / plan.time_scale
        self.say(
            f"phase 3, Locust: {plan.trading_minutes:g} minutes of trading in {minutes:.1f} minutes"
        )
        samples = self._locust(
            "TradingAgent",
            users=plan.trading_agents,
            data="market",
            options=[
                *("--time-scale", str(plan.time_scale), "--run-id", "closed"),
                *("--trading-minutes", str(plan.trading_minutes)),
            ],
            memories=plan.phase3_memories,
            timeout_s=LEVEL_TIMEOUT_S + 2 * 60 * minutes,
        )
        self._add_trading(samples, day, is_open=False)

    def _trade_in_an_open_loop(self, day: TradingDay) -> None:
        plan = self.plan
        self.say("phase 3, open loop: the same plan, each request sent when it is due")
        events = trading_plan(
            agents=plan.trading_agents,
            time_scale=plan.time_scale,
            seed=plan.seed,
            simulated_s=60 * plan.trading_minutes,
        )
        requests = []
        for event in events:
            path, body = day.request(event)
            requests.append(
                TimedRequest(
                    event.due_s,
                    post_request(self.url, path, body),
                    kind=f"phase 3: {event.kind}",
                    agent=event.agent,
                    item=event.item,
                    is_search=path == SEARCH,
                )
            )
        warm_up = [
            post_request(self.url, SEARCH, body)
            for agent in range(plan.trading_agents)
            for body in day.warm_up(agent, WARM_UP // 10)
        ]
        samples = run_precisely(
            lambda: open_loop(self.url, requests, warm_up=warm_up, watched=self.watched)
        )
        self._add_trading(samples, day, is_open=True)

    def _stored(self, name: str, data: DataKind, *, agents: int, memories_each: int) -> Workload:
        made = workload(
            data,
            name=name,
            agents=agents,
            memories_each=memories_each,
            questions=QUESTIONS,
            dimension=self.plan.dimension,
            seed=self.plan.seed,
        )
        self._fill(f"{name}, {data}", made)
        return made

    def _fill(self, label: str, made: Workload) -> None:
        report = fill(self.url, made, lambda _: None)
        if report.created:
            self.fills[label] = report
            self.say(f"stored {report.memories:,} memories ({label}): {report.rate:,.0f}/s")
            wait_until_idle(self.watched)

    def _locust(
        self,
        scenario: str,
        *,
        users: int,
        data: DataKind,
        options: Sequence[str],
        memories: int,
        timeout_s: float = LEVEL_TIMEOUT_S,
    ) -> Samples:
        plan = self.plan
        common = [
            *("--data", data, "--vectors", plan.vectors, "--seed", str(plan.seed)),
            *("--memories", str(memories), "--dimension", str(plan.dimension)),
            "--no-fill",
        ]
        return run_locust(
            scenario,
            url=self.url,
            users=users,
            options=[*common, *options],
            watched=self.watched,
            timeout_s=timeout_s,
        )

    def _questions(self, each: int, *, users: int) -> list[str]:
        """Return options for `each` questions of every user that no earlier run asked."""
        first, warm_up = self._next_question, _warm_up(users)
        self._next_question += each + warm_up
        first_question = ["--first-question", str(first), "--warm-up", str(warm_up)]
        return ["--queries", str(each), *first_question]

    def _lean(self, stored: Workload, *, agents: int, queries_each: int, phase: int) -> Samples:
        """Ask other questions of the same kind with the lean client."""
        bodies = search_bodies(stored.agent_ids[0], stored.asked.vectors, self.plan.vectors)
        warm_up = _warm_up(agents)
        first = self._next_question
        self._next_question += queries_each + warm_up
        items = [item % QUESTIONS for item in range(first, self._next_question)]
        requests = []
        for agent in range(agents):
            own = bodies.of_agent(stored.agent_ids[agent])
            requests.append([(i, post_request(self.url, SEARCH, own[i])) for i in items])
        return run_precisely(
            lambda: closed_loop(
                self.url,
                requests,
                kind=f"phase {phase}: search",
                warm_up=warm_up,
                watched=self.watched,
            )
        )

    def _add_searches(
        self,
        samples: Samples,
        stored: Workload,
        *,
        phase: int,
        data: DataKind,
        agents: int,
        is_lean: bool = False,
    ) -> None:
        self._add(
            measure(
                samples,
                check_searches(samples, stored),
                phase=phase,
                variant=self.variant,
                what="search",
                data=data,
                agents=agents,
                loop="lean client, closed loop" if is_lean else "Locust, closed loop",
            )
        )

    def _add_trading(self, samples: Samples, day: TradingDay, *, is_open: bool) -> None:
        kinds: tuple[EventKind, ...] = (*SEARCH_KINDS, "store")
        for kind in kinds:
            checked = Checked() if kind == "store" else check_trading(samples, day, kind)
            self._add(
                measure(
                    samples,
                    checked,
                    phase=3,
                    variant=self.variant,
                    what=kind,
                    data="market",
                    agents=self.plan.trading_agents,
                    loop="lean client, open loop" if is_open else "Locust, closed loop",
                    kind=f"phase 3: {kind}",
                )
            )

    def _add(self, row: Measurement) -> None:
        self.measurements.append(row)
        recall = "" if row.checked.recall is None else f", recall {row.checked.recall:.3f}"
        latency = row.latency
        self.say(
            f"    {row.what} ({row.loop}): P50 {latency.p50_ms:.2f} ms, P95 {latency.p95_ms:.2f}, "
            f"P99 {latency.p99_ms:.2f}, {row.rate:,.0f}/s{recall}"
        )


def _warm_up(users: int) -> int:
    """Return the number of warm-up requests of each user."""
    return max(LEAST_WARM_UP, WARM_UP // users)
