"""Reports answered questions to the live view."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from app.contract.requests import EpisodicSearch
from app.errors import MemoryServiceError
from app.memory.live import OWNERS, Kind, told_of_answer
from app.model import Answer
from app.service import Services


def tell_answer(
    services: Services, kind: Kind, question: EpisodicSearch, answer: Answer, took_ms: float
) -> None:
    """Report that a question was answered."""
    if question.scope != "own":
        services.swarm.asked.note(kind, question.agent_id, answer)
    if services.live.is_watched:
        told = told_of_answer(answer, scope=question.scope, took_ms=took_ms)
        services.live.note(kind, question.agent_id, as_of=question.as_of, **told)


def tell_answers(
    services: Services,
    items: Sequence[object],
    outcomes: Sequence[Answer | MemoryServiceError],
    took_ms: float,
) -> None:
    """Report the answers to a batch of searches, with one event per agent and scope."""
    asked: dict[tuple[str, str, object], list[dict[str, Any]]] = {}
    for item, outcome in zip(items, outcomes, strict=True):
        if isinstance(item, dict) and isinstance(outcome, Answer):
            scope = item.get("scope", "own")
            if scope != "own":
                services.swarm.asked.note("recall", item["agent_id"], outcome)
            if not services.live.is_watched:
                continue
            told = told_of_answer(outcome, scope=scope, took_ms=took_ms)
            asked.setdefault((item["agent_id"], scope, item.get("as_of")), []).append(told)
    for (agent_id, scope, as_of), tellings in asked.items():
        services.live.note("recall", agent_id, as_of=as_of, **_together(tellings, scope))


def _together(tellings: Sequence[dict[str, Any]], scope: str) -> dict[str, Any]:
    nearest = [told["nearest"] for told in tellings if told["nearest"] is not None]
    together = tellings[0] | {
        "count": len(tellings),
        "found": sum(told["found"] for told in tellings),
        "nearest": min(nearest, default=None),
        "cached": all(told["cached"] for told in tellings),
    }
    if scope != "own":
        owners = sum((Counter(told["owners"]) for told in tellings), Counter[str]())
        together["owners"] = dict(owners.most_common(OWNERS))
    return together
