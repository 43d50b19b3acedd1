"""Ranges whose ends are the wrong way round match nothing, in every route.

Redis 8 answers such a range with an error, so no query text may have one: what the product sends is
read off Redis itself.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.embedded import EmbeddedNode
from app.model import EpisodicFilter, SemanticFilter
from app.settings import Settings
from app.storage.query_syntax import episodic_conditions, semantic_conditions
from tests.api.test_episodic_search import memories, store
from tests.conftest import DIMENSION, running_service

_NOW = 1_700_000_000.0
_RANGE = re.compile(r"@\w+:\[(\(?)(\S+) (\(?)([^\]\s]+)\]")
_COMMAND = re.compile(r'"(FT\.(?:SEARCH|AGGREGATE))" "[^"]*" "((?:\\.|[^"\\])*)"')
_VECTOR = [1.0] * DIMENSION
_SEARCH = {"agent_id": "agent_1", "state_vector": _VECTOR}

REVERSED = [
    {"min_reward": 2.0, "max_reward": 1.0},
    {"since": _NOW + 2, "until": _NOW + 1},
    {"since": _NOW + 2, "as_of": _NOW + 1},
    {"min_reward": 1.0, "max_reward": -1.0, "since": 2.0, "until": -1.0},
]
ROUTES: list[tuple[str, dict[str, Any], bool]] = [
    ("episodic/search", _SEARCH, True),
    ("episodic/search", _SEARCH | {"scope": "all"}, True),
    ("episodic/search", _SEARCH | {"scope": "others"}, True),
    ("episodic/search", _SEARCH | {"exact": True}, True),
    ("episodic/estimate", _SEARCH, True),
    ("episodic/query", {"agent_id": "agent_1"}, False),
    ("episodic/delete", {"agent_id": "agent_1", "dry_run": True}, False),
    ("episodic/delete", {"agent_id": "agent_1", "dry_run": False}, False),
    ("episodic/sample", {"agent_id": "agent_1", "size": 5}, True),
]
"""Route, what it needs, and whether it takes `as_of`."""
EARLY: list[tuple[str, dict[str, Any]]] = [
    ("semantic/search", {"concept_vector": _VECTOR, "as_of": 1.0, "min_sharpe_ratio": 9.0}),
    ("semantic/query", {"as_of": 1.0, "min_win_rate": 1.0}),
    ("semantic/delete", {"min_sharpe_ratio": 9.0, "dry_run": False}),
    ("retention", {"dry_run": True, "episodic_max_age_days": 36_500}),
]


def wrong_way_round(query: str) -> list[str]:
    """The ranges of a query text whose low end is above the high one."""
    found = _RANGE.finditer(query)
    return [m[0] for m in found if float(m[2]) > float(m[4])]


@asynccontextmanager
async def sent_queries(node: EmbeddedNode) -> AsyncIterator[list[str]]:
    """The query text of each search that reaches Redis meanwhile."""
    reader, writer = await asyncio.open_unix_connection(str(node.socket_path), limit=2**24)
    queries: list[str] = []

    async def listen() -> None:
        async for line in reader:
            queries.extend(m[2] for m in _COMMAND.finditer(line.decode("latin-1")))

    writer.write(b"MONITOR\r\n")
    assert await reader.readline() == b"+OK\r\n"
    listening = asyncio.create_task(listen())
    try:
        yield queries
    finally:
        writer.write(b"QUIT\r\n")
        await asyncio.wait_for(listening, 60)
        writer.close()
        await writer.wait_closed()


def is_empty(answer: dict[str, Any]) -> bool:
    """Whether an answer of any route has found nothing."""
    counts = ("count", "total", "matched", "deleted", "found")
    lists = ("memories", "actions", "results")
    return not any(answer.get(name) for name in (*counts, *lists))


@pytest.mark.parametrize("layout", ["per_agent", "shared"])
async def test_every_route_answers_with_nothing_found(
    settings: Settings, redis_node: EmbeddedNode, layout: Any
) -> None:
    settings = settings.model_copy(
        update={"layout": layout, "shared_max_age_days": 30.0, "limit_agent_requests_per_s": 10_000}
    )
    async with running_service(settings) as api, sent_queries(redis_node) as queries:
        await store(api, [*memories(3), *memories(3, agent_id="agent_2")])
        for route, body, takes_as_of in ROUTES:
            for reversed_range in REVERSED:
                if "as_of" in reversed_range and not takes_as_of:
                    continue
                answer = await api.post(f"/v1/{route}", json=body | reversed_range)
                assert answer.status_code == 200, (route, reversed_range, answer.text)
                assert is_empty(answer.json()), (route, reversed_range, answer.text)
        await answers_in_a_batch(api)
        # Others' memories are shared for 30 days, and the question ends before that.
        for scope in ("others", "all"):
            asked = _SEARCH | {"scope": scope, "until": _NOW + 100}
            found = (await api.post("/v1/episodic/search", json=asked)).json()
            assert found["count"] == (3 if scope == "all" else 0), found
        for route, body in EARLY:
            answer = await api.post(f"/v1/{route}", json=body)
            assert answer.status_code == 200, (route, answer.text)
        kept = await api.post("/v1/episodic/query", json={"agent_id": "agent_1"})
        assert kept.json()["total"] == 3
    assert len(queries) > 2 * len(ROUTES)
    assert [text for query in queries for text in wrong_way_round(query)] == []


async def answers_in_a_batch(api: httpx.AsyncClient) -> None:
    searches = [_SEARCH, *(_SEARCH | part for part in REVERSED)]
    answer = await api.post("/v1/episodic/search/batch", json={"searches": searches})
    assert answer.status_code == 200, answer.text
    whole, *empty = answer.json()["results"]
    assert whole["count"] == 3
    assert [found["count"] for found in empty] == [0] * len(REVERSED)


_NUMBERS = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))


@given(
    st.builds(
        EpisodicFilter,
        min_reward=_NUMBERS,
        max_reward=_NUMBERS,
        since=_NUMBERS,
        until=_NUMBERS,
        as_of=_NUMBERS,
        min_quality=_NUMBERS,
    ),
    st.builds(SemanticFilter, min_sharpe_ratio=_NUMBERS, min_win_rate=_NUMBERS, as_of=_NUMBERS),
)
def test_no_text_of_a_filter_has_one(episodic: EpisodicFilter, semantic: SemanticFilter) -> None:
    parts = [
        *episodic_conditions(episodic),
        *semantic_conditions(semantic),
        *semantic_conditions(semantic, former=True),
    ]
    assert [text for part in parts for text in wrong_way_round(part)] == []


def test_a_range_of_the_wrong_way_round_is_seen() -> None:
    assert wrong_way_round("(@a:{x} @reward:[0.5 -1.5])") == ["@reward:[0.5 -1.5]"]
    assert wrong_way_round("@a:[(0 (0] @b:[-inf 1e300] @c:[(2 inf]") == []
