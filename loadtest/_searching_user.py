"""Phases 1 and 2: a user asks as fast as it gets answers, never the same twice in a row."""

from argparse import Namespace
from typing import ClassVar

from locust import task
from locust.exception import StopUser

from bench.bodies import SEARCH, SearchBodies, search_bodies
from bench.data import QUESTIONS, Workload, workload
from loadtest._measured_user import MeasuredUser, current_run

STRIDE = 997
"""Users that share an agent begin at different questions, so that none repeats another's."""


class SearchingUser(MeasuredUser):
    """Asks its own agent's memory for the 10 nearest states."""

    abstract = True

    workload_name: ClassVar[str]
    kind: ClassVar[str]
    default_memories: ClassVar[int]
    _bodies: ClassVar[list[SearchBodies]]

    @classmethod
    def agents(cls, options: Namespace) -> int:
        """Return how many agents have memories."""
        return int(options.agents)

    @classmethod
    def prepare(cls, options: Namespace) -> Workload:
        data = workload(
            options.data,
            name=cls.workload_name,
            agents=cls.agents(options),
            memories_each=options.memories or cls.default_memories,
            questions=QUESTIONS,
            dimension=options.dimension,
            seed=options.seed,
            with_memories=not options.no_fill,
        )
        bodies = search_bodies(data.agent_ids[0], data.asked.vectors, options.vectors)
        cls._bodies = [bodies.of_agent(agent_id) for agent_id in data.agent_ids]
        return data

    def on_start(self) -> None:
        super().on_start()
        self._agent = self.number % len(self._bodies)
        repeated = self.number // len(self._bodies)
        self._next = current_run().options.first_question + repeated * STRIDE
        for _ in range(current_run().options.warm_up):
            self._ask("warm-up")
        current_run().wait_for_all()
        self._left = current_run().options.queries or -1

    @task
    def search(self) -> None:
        if self._left == 0:
            current_run().finish()
            raise StopUser
        self._left -= 1
        self._ask(self.kind)

    def _ask(self, kind: str) -> None:
        bodies = self._bodies[self._agent]
        item = self._next % len(bodies)
        self._next += 1
        self.send(SEARCH, bodies[item], kind=kind, agent=self._agent, item=item)
