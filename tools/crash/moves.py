"""Agents that move back and forth between the groups while these are crashed."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import httpx

from app import keys
from tools.crash.deployment import Deployment, NotWhole
from tools.crash.faults import Done
from tools.crash.load import Load

MOVING = "moving"
"""Stands for the group of agents that move."""
EACH = 4
"""One agent of this many moves; the others show how their groups are."""
PAUSE_S = 0.5
LOOK_PAUSE_S = 0.2
LAST_MOVES_S = 120.0
TIMEOUT_S = 6.0


def shards_of(agents: int) -> list[str]:
    """Return each agent's group, in turn; every EACH-th one moves between them."""
    staying, groups = 0, []
    for number in range(agents):
        if number % EACH == EACH - 1:
            groups.append(MOVING)
        else:
            groups.append("abc"[staying % 3])
            staying += 1
    return groups


def place(deployment: Deployment, shards: Sequence[str]) -> None:
    """Decide the agents' places before their first memories are stored."""
    home = next(iter(deployment.groups.values()))
    placed = {
        f"agent_{number}": next(iter(deployment.groups)) if group == MOVING else group
        for number, group in enumerate(shards)
    }
    with home.nodes[home.master()].client() as client:
        client.hset(keys.PLACEMENTS, mapping=placed)
    staying = {
        a: group for (a, group), s in zip(placed.items(), shards, strict=True) if s != MOVING
    }
    deployment.note_places(staying)


class Moves:
    """Asks for moves of some agents, one at a time, and follows each until it has ended."""

    def __init__(
        self, load: Load, deployment: Deployment, seed: int, shards: Sequence[str]
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._deployment = deployment
        self._services = [service.url for service in deployment.services]
        pairs = zip(load.ledgers, shards, strict=True)
        self._agents = [ledger.agent for ledger, shard in pairs if shard == MOVING]
        self._chance = random.Random(f"{seed} moves")

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Move agents while the context is open."""
        task = asyncio.create_task(self._move_for_ever())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _move_for_ever(self) -> None:
        if not self._agents:
            return
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            while True:
                agent = self._chance.choice(self._agents)
                group = self._chance.choice(list(self._deployment.groups))
                while (status := await self._ask(client, agent, group)) not in {"done", "failed"}:
                    await asyncio.sleep(LOOK_PAUSE_S)
                self.counts[status] += 1
                await asyncio.sleep(PAUSE_S)

    async def _ask(self, client: httpx.AsyncClient, agent: str, group: str) -> str:
        """Ask either service for the move. Return its status, or why it was refused."""
        url = f"{self._chance.choice(self._services)}/v1/agents/{agent}/move"
        with suppress(httpx.TransportError):
            answer = await client.post(url, json={"group": group})
            if answer.status_code == httpx.codes.ACCEPTED:
                return str(answer.json()["status"])
            self.counts[f"refused: {answer.json()['code']}"] += 1
        return "refused"

    async def until_ended(self) -> None:
        """Wait until every move has ended. Raise NotWhole."""
        if not self._agents:
            return
        give_up_at = time.monotonic() + LAST_MOVES_S
        while left := await asyncio.to_thread(self._under_way):
            if time.monotonic() > give_up_at:
                raise NotWhole(f"moves do not end: {left}")
            await asyncio.sleep(LOOK_PAUSE_S)

    def _under_way(self) -> list[str]:
        home = next(iter(self._deployment.groups.values()))
        with home.nodes[home.master()].client() as client:
            moves = [json.loads(move) for move in client.hvals(keys.MOVES)]
        return [str(move) for move in moves if move["status"] not in {"done", "failed"}]


def undisturbed(load: Load, deployment: Deployment, faults: Sequence[Done]) -> dict[str, float]:
    """Return the longest time without an answer of agents in one group while another one was hit:
    of reads, and of writes by their level. Agents that move are in no group."""
    found: dict[str, float] = {}
    hit = [(deployment.group_of(done.name), done) for done in faults]
    for what, outages in (("reads", load.reads), ("writes", load.writes)):
        for (shard, level), outage in outages.items():
            if shard not in deployment.groups or not shard:
                continue
            name = what if what == "reads" else f"{what} at {level}"
            longest_s = [
                end - start
                for start, end in outage.pauses
                for group, done in hit
                if group not in {None, shard} and start < done.whole_at and end > done.began_at
            ]
            found[name] = round(max([found.get(name, 0.0), *longest_s]), 2)
    return found
