"""After the faults: every confirmed memory is looked for, by id and by search, on every node."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
import orjson
from redis import Redis
from redis.exceptions import ResponseError

from app import keys
from tests.deploy.nodes import PASSWORD, Node
from tests.kit.service_process import NO_TLS
from tools.crash.deployment import Deployment
from tools.crash.groups import NodeGroup, holds
from tools.crash.ledger import AgentLedger
from tools.crash.memories import NEVER, Memory

ItemT = TypeVar("ItemT")
STEP = 250
SYNC_TIMEOUT_MS = 30_000
CONCURRENT = 8
TRIES = 10


@dataclass
class Losses:
    """What was confirmed and is not so: (agent, number) of each."""

    memories: set[tuple[str, int]] = field(default_factory=set)
    outcomes: set[tuple[str, int]] = field(default_factory=set)
    deletions: set[tuple[str, int]] = field(default_factory=set)
    doubled: set[tuple[str, int]] = field(default_factory=set)
    never_sent: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)

    @property
    def all(self) -> set[tuple[str, int]]:
        """Return every memory of which something was lost."""
        return self.memories | self.outcomes | self.deletions


async def audit(deployment: Deployment, ledgers: Sequence[AgentLedger], losses: Losses) -> None:
    """Compare every node and every service with the ledgers."""
    for group in deployment.groups.values():
        await asyncio.to_thread(_in_step, group)
    for ledger in ledgers:
        await asyncio.to_thread(_check_nodes, deployment, ledger, losses)
    for number, service in enumerate(deployment.services):
        async with httpx.AsyncClient(base_url=service.url, timeout=30, verify=NO_TLS) as client:
            for ledger in ledgers:
                await _check_service(client, number, ledger, losses)


def _in_step(group: NodeGroup) -> None:
    """Wait until every replica has everything, so that what a node still lacks is lost there."""
    master, replicas = group.master(), len(group.nodes) - 1
    with group.nodes[master].client() as client:
        client.incr("crash_audit")
        if client.wait(replicas, SYNC_TIMEOUT_MS) != replicas:
            raise RuntimeError(f"the replicas of {master} do not catch up")


def _reading(node: Node, *, as_text: bool = True) -> Redis:
    return Redis(
        host=node.host, port=node.port, password=PASSWORD, protocol=2, decode_responses=as_text
    )


def _check_nodes(deployment: Deployment, ledger: AgentLedger, losses: Losses) -> None:
    """Check an agent on each node of its group, and that it is on no other group's."""
    groups = list(deployment.groups.values())
    holders = [group for group in groups if _has(group, ledger.agent)] if groups[1:] else groups
    for group in groups:
        for name, node in group.nodes.items():
            if group is (holders or groups)[0]:
                _check_node(name, node, ledger, losses)
                continue
            with _reading(node) as client:
                numbers = [r["metadata"].get("n", -1) for r in _stored(client, ledger).values()]
            losses.doubled |= {(ledger.agent, number) for number in numbers}


def _has(group: NodeGroup, agent: str) -> bool:
    with group.nodes[group.master()].client() as client:
        return holds(client, agent)


def _check_node(name: str, node: Node, ledger: AgentLedger, losses: Losses) -> None:
    with _reading(node) as client:
        stored = _stored(client, ledger)
        seen: dict[int, set[str]] = {}
        for found in stored.values():
            seen.setdefault(found["metadata"].get("n", -1), set()).add(found["id"])
        for number, ids in seen.items():
            if not 0 <= number < len(ledger.memories):
                losses.never_sent.append(f"{ledger.agent} {ids} on {name}")
            elif len(ids) > 1 or ledger.memories[number].other_ids:
                losses.doubled.add((ledger.agent, number))
        there = [memory for memory in ledger.memories if memory.must_be_there]
        for memory in there:
            record = stored.get(keys.episodic_memory(memory.agent, str(memory.id)))
            _check_record(memory, record, losses)
        for memory in ledger.memories:
            key = keys.episodic_memory(memory.agent, str(memory.id))
            if memory.deleted_at < NEVER and key in stored:
                losses.deletions.add((memory.agent, memory.number))
        _check_search(node, ledger, len(stored), losses)
    losses.checked["records on nodes"] += len(there)


def _check_record(memory: Memory, record: dict[str, Any] | None, losses: Losses) -> None:
    which = (memory.agent, memory.number)
    if record is None:
        losses.memories.add(which)
        return
    if memory.outcome_at < NEVER and record["reward"] is None:
        losses.outcomes.add(which)
    wrong = [name for name, value in memory.shown.items() if record[name] != value]
    if wrong or not memory.may_have_reward(record["reward"]):
        losses.differences.append(f"{which}: {wrong or record['reward']}")


def _stored(client: Redis, ledger: AgentLedger) -> dict[str, dict[str, Any]]:
    """Return the records of an agent on one node, by key."""
    pattern = keys.episodic_prefix(ledger.agent) + "*"
    found = [str(key) for key in client.scan_iter(pattern, count=1000)]
    records: dict[str, dict[str, Any]] = {}
    for step in _steps(found):
        pipeline = client.pipeline(transaction=False)
        for key in step:
            pipeline.hget(key, "record")
        for key, record in zip(step, pipeline.execute(), strict=True):
            records[key] = orjson.loads(record)
    return records


def _check_search(node: Node, ledger: AgentLedger, stored: int, losses: Losses) -> None:
    """Check that the node's index has each memory under its vector, and no others."""
    index = keys.episodic_index(ledger.agent)
    there = [memory for memory in ledger.memories if memory.must_be_there]
    if not there:
        return
    # Replies as they come: keys of a reply are no text to this client.
    with _reading(node, as_text=False) as client:
        (count,) = _ask_in_time(client, [("FT.SEARCH", index, "*", "LIMIT", 0, 0)])
        if count[0] != stored:
            losses.differences.append(f"{node.name}: {count[0]} of {stored} in {index}")
        query = "*=>[KNN 1 @state_vector $v AS distance]"
        for step in _steps(there):
            commands = [
                (
                    *("FT.SEARCH", index, query, "PARAMS", 2, "v", memory.vector.tobytes()),
                    *("NOCONTENT", "DIALECT", 2),
                )
                for memory in step
            ]
            for memory, reply in zip(step, _ask_in_time(client, commands), strict=True):
                wanted = keys.episodic_memory(memory.agent, str(memory.id)).encode()
                if wanted not in reply[1:]:
                    losses.memories.add((memory.agent, memory.number))
    losses.checked["searches on nodes"] += len(there)


def _ask_in_time(client: Redis, searches: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Return the replies to searches; repeat those that a busy machine let time out."""
    for _ in range(TRIES):
        with suppress(ResponseError):
            return _ask(client, searches)
    return _ask(client, searches)


def _ask(client: Redis, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    pipeline.response_callbacks.clear()
    for words in commands:
        pipeline.execute_command(*words)  # type: ignore[no-untyped-call]
    replies: list[Any] = pipeline.execute()
    return replies


async def _check_service(
    client: httpx.AsyncClient, number: int, ledger: AgentLedger, losses: Losses
) -> None:
    """Look for half of the ids by GET on each service, for the other half by search."""
    there = [memory for memory in ledger.memories if memory.must_be_there]
    by_id = [memory for memory in there if memory.number % 2 == number % 2]
    for step in _steps(by_id, CONCURRENT):
        answers = await asyncio.gather(
            *(client.get(f"/v1/episodic/{memory.agent}/{memory.id}") for memory in step)
        )
        for memory, answer in zip(step, answers, strict=True):
            _check_record(memory, answer.json() if answer.status_code == 200 else None, losses)
    by_search = [memory for memory in there if memory.number % 2 != number % 2]
    for part in _steps(by_search):
        searches = [
            {
                "agent_id": memory.agent,
                "state_vector": memory.vector.tolist(),
                "top_k": 1,
                "consistency": "strong",
            }
            for memory in part
        ]
        said = await client.post("/v1/episodic/search/batch", json={"searches": searches})
        for memory, result in zip(part, said.json()["results"], strict=True):
            found = result.get("memories", [])
            first = found[0] if found and found[0]["id"] == memory.id else None
            _check_record(memory, first, losses)
    losses.checked["gets of services"] += len(by_id)
    losses.checked["searches of services"] += len(by_search)


def _steps(items: Sequence[ItemT], size: int = STEP) -> Iterator[Sequence[ItemT]]:
    return (items[start : start + size] for start in range(0, len(items), size))
