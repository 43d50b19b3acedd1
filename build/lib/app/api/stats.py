"""What is stored, how it is indexed and what it takes."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api import problems
from app.api.dependencies import ServicesDep
from app.api.render import json_response
from app.fields import AgentId
from app.memory.stats import StatsPage
from app.read_path.effort_control import EffortFigures
from app.records import IndexKind
from app.schemas_operations import (
    AgentStats,
    IndexStats,
    RecallStats,
    SemanticStats,
    Stats,
    StatsTotals,
)
from app.storage.statistics import IndexFigures, MoveFigures, PartitionFigures

router = APIRouter(tags=["operations"])

MAX_AGENTS = 1000

Limit = Annotated[int, Query(ge=1, le=MAX_AGENTS, description="Agents of one page.")]
OneAgent = Annotated[AgentId | None, Query(description="Only this agent.")]
Cursor = Annotated[
    AgentId | None, Query(description="`next_cursor` of the page before; unset: the first page.")
]


@router.get(
    "/v1/stats",
    summary="What is stored, per agent and per index",
    responses={200: {"model": Stats}, **problems.of(422, 503, 504)},
)
async def stats(
    services: ServicesDep, agent_id: OneAgent = None, cursor: Cursor = None, limit: Limit = 100
) -> Response:
    """Agents by name, a page at a time, with their indexes; the totals are over all of them."""
    page = await services.stats.page(agent_id=agent_id, after=cursor, limit=limit)
    return json_response(_stats(page).model_dump())


def _stats(page: StatsPage) -> Stats:
    return Stats(
        layout=page.layout,
        dimension=page.stored_as.dimension,
        vector_type=page.stored_as.type,
        totals=StatsTotals(**asdict(page.totals)),
        agents=[_agent(figures) for figures in page.agents],
        semantic=SemanticStats(
            memories=page.semantic.memories,
            hash_bytes=page.semantic.hash_bytes,
            sampled_hashes=page.semantic.sampled_hashes,
            index=page.semantic.alias,
        ),
        indexes=[_index(f, page.moves.get(f.alias)) for f in page.indexes],
        recall=[_recall(kind, known) for kind, known in page.effort.items()],
        next_cursor=page.next_agent,
    )


def _recall(kind: IndexKind, known: EffortFigures) -> RecallStats:
    return RecallStats(
        index_kind=kind,
        ef_runtime=known.ef_runtime,
        recall_at_k=known.recall,
        latency_ms=known.latency_ms,
        samples=known.samples,
        bound_by=known.bound_by,
    )


def _agent(figures: PartitionFigures) -> AgentStats:
    assert figures.agent_id is not None
    return AgentStats(
        agent_id=figures.agent_id,
        memories=figures.memories,
        open_memories=figures.open_memories,
        hash_bytes=figures.hash_bytes,
        sampled_hashes=figures.sampled_hashes,
        index=figures.alias,
    )


def _index(figures: IndexFigures, move: MoveFigures | None) -> IndexStats:
    info = figures.info
    if info is None:
        return IndexStats(name=figures.alias, status="missing")
    return IndexStats(
        name=figures.alias,
        status="ready" if info.is_complete else "building",
        algorithm=info.algorithm,
        moving_to=None if move is None else move.to,
        moving_progress=None if move is None else move.progress,
        dimension=info.dimension,
        documents=info.documents,
        progress=info.progress,
        failures=info.failures,
        vector_bytes=info.vector_bytes,
        total_bytes=info.size_bytes,
    )
