"""The tools for language models: the service's own requests, under names that say what they do.

Arguments are checked as HTTP bodies are, and answers are the same JSON.
"""

import base64
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import Request, Response
from pydantic import BaseModel

from app.api.console.telling import tell_answer
from app.api.repeatable import named
from app.api.responses import changed_response, estimate_response, page_response, search_response
from app.auth.caller import Need
from app.context import required
from app.contract.decisions import Decide, DecisionOutcome, RecallIdText
from app.contract.fields import AgentId, AsOf, MemoryId
from app.contract.fields import Request as Asked
from app.contract.parse import parse_item
from app.contract.requests import (
    EpisodicEstimate,
    EpisodicQuery,
    EpisodicSearch,
    EpisodicStore,
    Outcome,
    SemanticQuery,
)
from app.errors import InvalidInput
from app.service import Services

Arguments = Mapping[str, Any]

_STATE = "state_vector"
_LIKE = "like"


class Close(Outcome):
    """The outcome of an open memory, and which memory it is."""

    agent_id: AgentId
    id: MemoryId


class CloseDecision(DecisionOutcome):
    """The outcome of a decision, and which recall it followed."""

    recall_id: RecallIdText


class WhoseUplift(Asked):
    """Whose decisions are compared."""

    agent_id: AgentId


class Like(Asked):
    """Which memory's state is meant, and as of when."""

    agent_id: AgentId
    like: MemoryId
    as_of: AsOf | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool. `need` is the role that a key must have to call it."""

    name: str
    description: str
    need: Need
    schema: dict[str, Any]
    call: Callable[[Services, Request, Arguments], Awaitable[dict[str, Any]]]


async def _recall(services: Services, _: Request, arguments: Arguments) -> dict[str, Any]:
    started = time.perf_counter()
    question = parse_item(EpisodicSearch, await _with_state(services, arguments))
    if question.include_vectors:
        services.answer_limit.require_vectors(question.top_k, "top_k")
    answer = await services.episodic.search(question)
    services.answer_limit.require_hits(answer.hits, "top_k")
    took_ms = (time.perf_counter() - started) * 1000
    tell_answer(services, "recall", question, answer, took_ms)
    return _json(search_response(answer, took_ms=took_ms, parse_ms=0.0))


async def _estimate(services: Services, _: Request, arguments: Arguments) -> dict[str, Any]:
    started = time.perf_counter()
    question = parse_item(EpisodicEstimate, await _with_state(services, arguments))
    found = await services.estimate.estimate(question)
    took_ms = (time.perf_counter() - started) * 1000
    tell_answer(services, "estimate", question, found.answer, took_ms)
    return _json(estimate_response(found, took_ms=took_ms, parse_ms=0.0))


async def _query(services: Services, _: Request, arguments: Arguments) -> dict[str, Any]:
    page = await services.episodic_query.page(parse_item(EpisodicQuery, arguments))
    services.answer_limit.require_memories(((record, None) for record in page.records), "limit")
    return _json(page_response(page))


async def _patterns(services: Services, _: Request, arguments: Arguments) -> dict[str, Any]:
    page = await services.semantic.page(parse_item(SemanticQuery, arguments))
    services.answer_limit.require_memories(((record, None) for record in page.records), "limit")
    return _json(page_response(page))


async def _remember(services: Services, request: Request, arguments: Arguments) -> dict[str, Any]:
    memory = named(request, parse_item(EpisodicStore, arguments), None)
    stored = await services.episodic.store(memory, None)
    is_new = stored.status == "created"
    return {"id": stored.id, "agent_id": memory.agent_id, "created": is_new}


async def _close(services: Services, _: Request, arguments: Arguments) -> dict[str, Any]:
    wanted = parse_item(Close, arguments)
    closed = await services.changes.close(wanted.agent_id, wanted.id, wanted)
    return _json(changed_response(closed, required()))


async def _decide(services: Services, _: Request, arguments: Arguments) -> dict[str, Any]:
    decision = await services.decisions.decide(parse_item(Decide, arguments))
    return decision.model_dump()


async def _close_decision(services: Services, _: Request, arguments: Arguments) -> dict[str, Any]:
    wanted = parse_item(CloseDecision, arguments)
    closed = await services.decisions.close(wanted.recall_id, wanted)
    return closed.model_dump()


async def _uplift(services: Services, _: Request, arguments: Arguments) -> dict[str, Any]:
    report = await services.decisions.report(parse_item(WhoseUplift, arguments).agent_id)
    return report.model_dump()


async def _with_state(services: Services, arguments: Arguments) -> dict[str, Any]:
    """Put the state of the memory `like` in its place. Raise InvalidInput or MemoryNotFound."""
    given = dict(arguments)
    if given.pop(_LIKE, None) is None:
        return given
    if _STATE in given:
        raise InvalidInput(f"{_LIKE}: and {_STATE} both name the state: give one.", field=_LIKE)
    asked = {name: arguments[name] for name in Like.model_fields if name in arguments}
    wanted = parse_item(Like, asked)
    found = await services.episodic.fetch(wanted.agent_id, wanted.like, as_of=wanted.as_of)
    return given | {_STATE: base64.b64encode(found.vectors[_STATE]).decode()}


def _json(response: Response) -> dict[str, Any]:
    answer: dict[str, Any] = orjson.loads(response.body)
    return answer


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _question_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return a question's schema, in which a memory's id may replace the state."""
    schema = _schema(model)
    schema["required"] = [name for name in schema["required"] if name != _STATE]
    schema["properties"][_LIKE] = {
        "type": "string",
        "description": f"In place of {_STATE}: the id of one of the agent's memories.",
    }
    return schema


TOOLS = (
    Tool(
        "recall",
        "Find the moments most similar to a market state, with what was done and what came of it.",
        "read",
        _question_schema(EpisodicSearch),
        _recall,
    ),
    Tool(
        "estimate",
        "Say what to expect of each action, from the moments most similar to a market state.",
        "read",
        _question_schema(EpisodicEstimate),
        _estimate,
    ),
    Tool(
        "query",
        "List an agent's moments by time or reward, filtered: say, the worst of the last day.",
        "read",
        _schema(EpisodicQuery),
        _query,
    ),
    Tool(
        "patterns",
        "List what the whole swarm knows: patterns, regimes and strategies with their figures.",
        "read",
        _schema(SemanticQuery),
        _patterns,
    ),
    Tool(
        "uplift",
        "Say what the memory adds to an agent's decisions, against none and against a placebo.",
        "read",
        _schema(WhoseUplift),
        _uplift,
    ),
    Tool(
        "remember",
        "Store a moment: the market state, what was done and, if it is known, what came of it.",
        "write",
        _schema(EpisodicStore),
        _remember,
    ),
    Tool("close", "Record the outcome of an open moment.", "write", _schema(Close), _close),
    Tool(
        "decide",
        "Record what you do after a recall or an estimate with a recall_id. Not needed if you "
        "remember the moment under that id.",
        "write",
        _schema(Decide),
        _decide,
    ),
    Tool(
        "close_decision",
        "Record what came of a decision.",
        "write",
        _schema(CloseDecision),
        _close_decision,
    ),
)
