"""Small hand-made stand-ins: a clock that is moved by hand, nodes that fail or wait on demand."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from redis.asyncio import Redis

from app.errors import MemoryServiceError
from app.model import Answer, EpisodicFilter, EpisodicQuestion, Hit, Question
from app.nodes.node import NodeStatus, RedisNode

TURNS = 30


async def turned() -> None:
    """Return when every task has come as far as it comes by itself, on a machine of any speed."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


class ManualClock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


def question(number: int = 0, *, agent_id: str = "a", **fields: object) -> EpisodicQuestion:
    """A question that is told apart by its number."""
    base = EpisodicQuestion(
        agent_id=agent_id,
        vector=number.to_bytes(8, "little"),
        top_k=1,
        scope="own",
        filter=EpisodicFilter(),
        max_distance=None,
        exact=False,
        include_vectors=False,
        consistency="eventual",
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def answer_to(asked: Question, node: str = "master") -> Answer:
    """The one true answer to a question: it carries the question's vector."""
    return Answer((Hit(asked.vector, 0.0),), exact=True, partial=False, served_by=node)


class FakeNode(RedisNode):
    """A node that answers truly, after `gate` opens; or fails with `error`."""

    def __init__(self, name: str = "master", status: NodeStatus | None = None) -> None:
        unused = Redis()
        super().__init__(name, client=unused, waiting=unused, probe=unused, is_master=True)
        self.status = status or NodeStatus(
            is_master=name == "master",
            is_up=True,
            in_rotation=True,
            caught_up_at_s=float("inf"),
            replication_id="r" * 40,
            offset=100,
            problem=None,
        )
        self.batches: list[list[Question]] = []
        self.error: MemoryServiceError | None = None
        self.bad: set[Question] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def recall_many(self, questions: Sequence[Question]) -> list[Answer | MemoryServiceError]:
        self.batches.append(list(questions))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [
            MemoryServiceError("bad question") if asked in self.bad else answer_to(asked, self.name)
            for asked in questions
        ]

    async def recall(self, asked: Question) -> Answer:
        (answer,) = await self.recall_many([asked])
        if isinstance(answer, MemoryServiceError):
            raise answer
        return answer


class SearchFakes:
    """Asks the fake node that it is told."""

    async def recall_many(
        self, node: RedisNode, questions: Sequence[Question]
    ) -> list[Answer | MemoryServiceError]:
        assert isinstance(node, FakeNode)
        return await node.recall_many(questions)


@dataclass(slots=True)
class FakeFreshness:
    """Whether kept answers may be trusted, as a test wants it."""

    is_heard: bool = True
    is_latest: bool = True

    def hears_writes(self, owner: str | None) -> bool:
        del owner
        return self.is_heard

    def reads_latest(self, owner: str | None) -> bool:
        del owner
        return self.is_latest
