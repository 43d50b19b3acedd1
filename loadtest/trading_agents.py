"""Phase 3: an hour of trading. Ten agents, one for each product.

    locust -f loadtest/ --headless -u 10 -r 10 --data market TradingAgent
    locust -f loadtest/ --headless -u 10 -r 10 --time-scale 60 TradingAgent   # in a minute, random

Each asks for similar patterns every 5 seconds; on every trade (one in 30 seconds on average) it
asks about its regime and stores the trade. A user waits for its answer and then for the time to
its next request: what is measured here is a closed loop, which hides part of a stall. `make bench`
measures the same plan in an open loop beside it.
"""

from argparse import Namespace
from typing import ClassVar

import gevent
from locust import task
from locust.exception import StopUser

from bench.bodies import SEARCH
from bench.data import QUESTION_DAYS, History, Workload, market_history, random_history
from bench.trading_bodies import TradingDay
from bench.trading_day import Event, trading_plan
from loadtest._measured_user import MeasuredUser, current_run

AGENTS = 10
MEMORIES = 2_000


def _history(options: Namespace) -> History:
    if options.data == "market":
        return market_history()
    return random_history(
        products=AGENTS,
        days=options.memories or MEMORIES,
        later_days=QUESTION_DAYS,
        dimension=options.dimension,
        seed=options.seed,
    )


class TradingAgent(MeasuredUser):
    """Trades one product."""

    _warm_up: ClassVar[list[list[bytes]]]
    _plans: ClassVar[list[list[tuple[Event, str, bytes]]]]

    @classmethod
    def prepare(cls, options: Namespace) -> Workload:
        day = TradingDay(
            _history(options),
            agents=AGENTS,
            memories_each=options.memories or MEMORIES,
            form=options.vectors,
            run_id=options.run_id,
        )
        cls._warm_up = [day.warm_up(agent, options.warm_up) for agent in range(AGENTS)]
        cls._plans = [[] for _ in range(AGENTS)]
        plan = trading_plan(
            agents=AGENTS,
            time_scale=options.time_scale,
            seed=options.seed,
            simulated_s=60 * options.trading_minutes,
        )
        for event in plan:
            cls._plans[event.agent].append((event, *day.request(event)))
        return day.workload

    def on_start(self) -> None:
        super().on_start()
        self._plan = self._plans[self.number % AGENTS]
        for body in self._warm_up[self.number % AGENTS]:
            self.send(SEARCH, body, kind="warm-up", agent=self.number, item=0)
        current_run().wait_for_all()

    @task
    def trade(self) -> None:
        now_s = 0.0
        for event, path, body in self._plan:
            gevent.sleep(event.due_s - now_s)
            now_s = event.due_s
            self.send(path, body, kind=f"phase 3: {event.kind}", agent=event.agent, item=event.item)
        current_run().finish()
        raise StopUser
