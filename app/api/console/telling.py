"""Reports answered requests to the live view."""

from collections import Counter
from collections.abc import Sequence

from app.contract.requests import EpisodicSearch, EpisodicStore, Outcome
from app.memory.live import Kind, told_of_answer
from app.memory.storing import BatchOutcome
from app.model import Answer, Stored
from app.service import Services


def tell_stored(services: Services, memory: EpisodicStore, stored: Stored) -> None:
    """Report that one experience was stored."""
    if services.live.is_watched and stored.status == "created":
        services.live.note(
            "store",
            memory.agent_id,
            count=1,
            id=stored.id,
            product_id=memory.product_id,
            regime=memory.regime,
            action=memory.action,
            reward=memory.reward,
        )


def tell_batch(services: Services, items: Sequence[object], outcome: BatchOutcome) -> None:
    """Report that many experiences were stored, with one event per agent."""
    if not services.live.is_watched:
        return
    stored = Counter(
        item["agent_id"]
        for item, became in zip(items, outcome.outcomes, strict=True)
        if isinstance(item, dict) and isinstance(became, Stored) and became.status == "created"
    )
    for agent_id, count in stored.items():
        services.live.note("store", agent_id, count=count)


def tell_answer(
    services: Services, kind: Kind, question: EpisodicSearch, answer: Answer, took_ms: float
) -> None:
    """Report that a question was answered."""
    if services.live.is_watched:
        told = told_of_answer(answer, scope=question.scope, took_ms=took_ms)
        services.live.note(kind, question.agent_id, as_of=question.as_of, **told)


def tell_outcome(services: Services, agent_id: str, memory_id: str, outcome: Outcome) -> None:
    """Report that an open memory was closed."""
    if services.live.is_watched:
        services.live.note("outcome", agent_id, id=memory_id, reward=outcome.reward)


def tell_deleted(services: Services, agent_id: str, count: int) -> None:
    """Report that memories were deleted."""
    if services.live.is_watched and count:
        services.live.note("delete", agent_id, count=count)
