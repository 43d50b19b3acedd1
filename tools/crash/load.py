"""Agents that write, correct themselves, forget and ask while everything is crashed."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import numpy as np

from tests.kit.service_process import NO_TLS
from tools.crash.ledger import (
    LACKS,
    LACKS_OUTCOME,
    SHOWS_DELETED,
    AgentLedger,
    Asked,
    Consistency,
    Finding,
)
from tools.crash.memories import DIMENSION, NEVER, Memory

Level = Literal["memory", "replicated", "fsynced"]
LEVELS: tuple[Level, ...] = ("memory", "replicated", "fsynced")
Records = dict[int, dict[str, Any] | None]
Part = tuple[str, Level]
"""Agents on one shard whose writes are at one level."""

REQUEST_TIMEOUT_S = 6.0
RETRY_PAUSE_S = 0.1
LAST_TRIES_S = 60.0
"""How long requests in progress at the end of the load are tried again."""
WRITE_PAUSE_S = 0.03
RARE_WRITE_PAUSE_S = 1.0
"""The pause between the writes of one agent, so that the cache keeps its answers for a while."""
OFTEN_ASKED = 10
CONTENT: tuple[Consistency, ...] = ("eventual",)
MIXED: tuple[Consistency, ...] = ("eventual", "strong", "token")
READ_PAUSE_S = 0.02
BATCH = 10
GAP_S = 1.0
"""A shorter pause between two answers is no outage: other work on the machine makes it too."""
FSYNCED_GAP_S = 2.5
"""As GAP_S, for writes that wait for the disk: two flushes, a second each, and the same pause."""

PAUSE_S = 0.2

CLEAR = {503, 504, 507}
"""A refusal says that it is one: with a code, and that the same may be sent again."""


@dataclass
class Outage:
    """The time without a good answer, in gaps longer than `from_s`."""

    from_s: float = GAP_S
    last_at: float = field(default_factory=time.monotonic)
    total_s: float = 0.0
    longest_s: float = 0.0
    gaps: list[tuple[float, float]] = field(default_factory=list)
    pauses: list[tuple[float, float]] = field(default_factory=list)
    """All that are longer than PAUSE_S, gaps or not."""

    def answered(self) -> None:
        """Record a good answer."""
        now = time.monotonic()
        gap_s = now - self.last_at
        if gap_s > PAUSE_S:
            self.pauses.append((self.last_at, now))
        if gap_s > self.from_s:
            self.total_s += gap_s
            self.longest_s = max(self.longest_s, gap_s)
            self.gaps.append((self.last_at, now))
        self.last_at = now


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service answered in the end, which service, and at which try."""

    answer: httpx.Response
    service: int
    tries: int


class Unfinished(Exception):
    """The load is over and a write was never answered: nothing is known of it."""


class Load:
    """One writer for each agent, which asks for one level, and readers of all.

    `services` are addresses; `pace` divides the pauses between two requests. `shards` says where
    each agent's memories are; the levels take turns among the agents of a shard. `writes` and
    `reads` are by shard and level: writers on one shard continue while another one has no master.
    With several shards each reader has an agent of its own for the same reason.

    `vanished`: confirmed memories that the master did not have when they were sent again, deleted,
    or lacked in an answer; `reopened` and `reappeared`, those whose outcome or deletion it did not
    have. The end of the run may still find them: they were sent again, or a node that had
    them became the master. `records` asks the master of now what it has of memories.
    """

    def __init__(
        self,
        services: Sequence[str],
        *,
        seed: int,
        shards: Sequence[str],
        readers: int,
        levels: Sequence[Level],
        pace: float = 1.0,
        records: Callable[[Sequence[Memory]], Records] = lambda memories: {},
    ) -> None:
        self.ledgers = [AgentLedger(seed, agent) for agent in range(len(shards))]
        self.levels = tuple(levels)
        self.level_of: dict[str, Level] = {}
        self._part_of: dict[str, Part] = {}
        for number, (ledger, shard) in enumerate(zip(self.ledgers, shards, strict=True)):
            level = levels[shards[:number].count(shard) % len(levels)]
            self.level_of[ledger.agent] = level
            self._part_of[ledger.agent] = shard, level
        parts = list(self._part_of.values())
        # Not the only one of its part: its pauses would look like outages.
        self._rare = next((a for a, p in reversed(self._part_of.items()) if parts.count(p) > 1), "")
        self.writes: dict[Part, Outage] = {}
        self.reads: dict[Part, Outage] = {}
        self.findings: list[Finding] = []
        self.refusals: Counter[str] = Counter()
        self.unclear: list[str] = []
        self.vanished: set[tuple[str, int]] = set()
        self.reopened: set[tuple[str, int]] = set()
        self.reappeared: set[tuple[str, int]] = set()
        self.counts: Counter[str] = Counter()
        self.confirmed: Counter[Level] = Counter()
        self.checked: Counter[Level] = Counter()
        self._seed = seed
        self._readers = readers
        self._has_own_readers = len(set(shards)) > 1
        self._pace = pace
        self._records = records
        self._count_from_now()
        self._ends_at = NEVER
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        self._clients = [
            httpx.AsyncClient(base_url=url, timeout=REQUEST_TIMEOUT_S, limits=limits, verify=NO_TLS)
            for url in services
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, and then until requests in progress are answered."""
        self._count_from_now()
        writers = [
            asyncio.create_task(self._write(number, stop)) for number in range(len(self.ledgers))
        ]
        readers = [asyncio.create_task(self._read(number, stop)) for number in range(self._readers)]
        waiting = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait(
                [waiting, *writers, *readers], return_when=asyncio.FIRST_COMPLETED
            )
            self._ends_at = time.monotonic() + LAST_TRIES_S
            for task in done:
                task.result()
            await asyncio.gather(*writers, *readers)
        finally:
            for task in (waiting, *writers, *readers):
                task.cancel()

    def _count_from_now(self) -> None:
        for part in self._part_of.values():
            self.writes[part] = Outage(FSYNCED_GAP_S if part[1] == "fsynced" else GAP_S)
            self.reads[part] = Outage()

    async def aclose(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.aclose()

    # --- writing -------------------------------------------------------------------------------
    async def _write(self, agent: int, stop: asyncio.Event) -> None:
        ledger, chance = self.ledgers[agent], random.Random(f"{self._seed} writer {agent}")
        while not stop.is_set():
            draw = chance.random()
            old = chance.choice(ledger.memories) if ledger.memories else None
            try:
                if old is not None and draw < 0.1 and old.is_open:
                    await self._close(ledger, old)
                elif old is not None and draw < 0.18 and old.must_be_there:
                    await self._delete(ledger, old)
                elif old is not None and draw < 0.25 and old.must_be_there:
                    await self._store(ledger, old)
                elif draw < 0.33:
                    await self._store_batch(ledger)
                else:
                    await self._store(ledger, ledger.new())
            except Unfinished:
                return
            is_rare = ledger.agent == self._rare
            await asyncio.sleep(RARE_WRITE_PAUSE_S if is_rare else WRITE_PAUSE_S / self._pace)

    async def _store(self, ledger: AgentLedger, memory: Memory) -> None:
        """Store it, or send a confirmed one once more: that must change nothing."""
        was_confirmed = memory.is_confirmed
        headers = {"Idempotency-Key": memory.idempotency_key} if memory.by_key else {}
        reply = await self._until_answered(
            ledger, "POST", "/v1/episodic", {200, 201}, json=memory.body(), headers=headers
        )
        said = reply.answer.json()
        if was_confirmed and said["created"]:
            self.vanished.add((memory.agent, memory.number))
        self._confirmed(ledger, memory, reply.service, said["id"], said["token"])

    async def _store_batch(self, ledger: AgentLedger) -> None:
        """Ten at once; those that are refused are sent again."""
        waiting = [ledger.new() for _ in range(BATCH)]
        for memory in waiting:
            memory.by_key, memory.id = False, f"m{memory.number}"  # a batch has one key for all
        while waiting:
            bodies = [memory.body() for memory in waiting]
            reply = await self._until_answered(
                ledger, "POST", "/v1/episodic/batch", {200}, json={"memories": bodies}
            )
            said, refused = reply.answer.json(), []
            for memory, result in zip(waiting, said["results"], strict=True):
                if result["status"] in {"created", "unchanged"}:
                    self._confirmed(ledger, memory, reply.service, result["id"], said["token"])
                else:
                    self._refused(result["error"])
                    refused.append(memory)
            waiting = refused

    async def _close(self, ledger: AgentLedger, memory: Memory) -> None:
        memory.outcome_sent_at = time.monotonic()
        path = f"/v1/episodic/{memory.agent}/{memory.id}/outcome"
        body = {"reward": memory.outcome, "outcome_at": memory.shown["timestamp"] + 1}
        known_at = time.monotonic()
        reply = await self._until_answered(ledger, "POST", path, {200, 404}, json=body)
        if reply.answer.status_code == 404:
            asked = Asked(ledger.agent, "eventual", known_at, reply.service, memory.vector)
            self.findings += ledger.missed(asked, memory)
            return
        memory.outcome_at, memory.changed_by = time.monotonic(), reply.service
        self._wrote("outcomes", ledger.agent)

    async def _delete(self, ledger: AgentLedger, memory: Memory) -> None:
        path = f"/v1/episodic/{memory.agent}/{memory.id}"
        seen = await self._until_answered(ledger, "GET", path, {200, 404})
        if self._is_missed(memory):
            return
        ledger.deleting(memory, time.monotonic())
        reply = await self._until_answered(ledger, "DELETE", path, {204, 404})
        # A 404 alone says little: an earlier try, of the service itself too, may have deleted it.
        if (seen.answer.status_code, reply.answer.status_code) == (404, 404):
            self.vanished.add((memory.agent, memory.number))
        memory.deleted_at, memory.changed_by = time.monotonic(), reply.service
        self._wrote("deletions", ledger.agent)

    def _is_missed(self, memory: Memory) -> bool:
        """Return whether an answer lacked something of it. Then it is not deleted: if only the
        master that was cut off had confirmed it, a deletion there would hide the loss, and make the
        new master's correct answer look wrong."""
        which = (memory.agent, memory.number)
        return any((finding.agent, finding.number) == which for finding in self.findings)

    def _confirmed(
        self, ledger: AgentLedger, memory: Memory, service: int, memory_id: str, token: str
    ) -> None:
        is_new = not memory.is_confirmed
        now = time.monotonic()
        ledger.confirmed(memory, now, by=service, memory_id=memory_id, token=token)
        if is_new:
            self._wrote("stores", ledger.agent)

    def _wrote(self, what: str, agent: str) -> None:
        self.counts[f"{what} confirmed"] += 1
        self.confirmed[self.level_of[agent]] += 1
        self.writes[self._part_of[agent]].answered()

    async def _until_answered(
        self, ledger: AgentLedger, method: str, path: str, good: set[int], **request: Any
    ) -> "Reply":
        """Send the same again, to one service after the other, until it is answered."""
        service = int(ledger.agent.removeprefix("agent_")) % len(self._clients)
        if (level := self.level_of[ledger.agent]) != "memory":
            headers = request.get("headers", {}) | {"X-Durability": level}
            request = request | {"headers": headers}
        for tries in itertools.count(1):
            answer = await self._send(service, method, path, **request)
            if answer is not None and answer.status_code in good:
                return Reply(answer, service, tries)
            if time.monotonic() > self._ends_at:
                raise Unfinished
            await asyncio.sleep(RETRY_PAUSE_S)
            service = (service + 1) % len(self._clients)
        raise AssertionError("it never stops counting")

    async def _send(
        self, service: int, method: str, path: str, **request: Any
    ) -> httpx.Response | None:
        try:
            answer = await self._clients[service].request(method, path, **request)
        except httpx.TransportError as error:
            self.refusals[type(error).__name__] += 1
            return None
        if answer.status_code >= 400 and answer.status_code != 404:
            self._refused(answer.json())
        return answer

    def _refused(self, problem: dict[str, Any]) -> None:
        self.refusals[problem["code"]] += 1
        is_clear = problem["status"] in CLEAR and problem["retryable"]
        if not is_clear and problem["code"] != "token_unknown":
            self.unclear.append(f"{problem['status']} {problem['code']}: {problem['detail']}")

    # --- reading -------------------------------------------------------------------------------
    async def _read(self, number: int, stop: asyncio.Event) -> None:
        chance = random.Random(f"{self._seed} reader {number}")
        # Every other one is content with a replica: it is not held up by a master that hangs.
        choices = MIXED if number % 2 else CONTENT
        while not stop.is_set():
            of_all = chance.choice(self.ledgers)
            ledger = self.ledgers[number % len(self.ledgers)] if self._has_own_readers else of_all
            memory = chance.choice(ledger.memories) if ledger.memories else None
            if memory is not None:
                if chance.random() < 0.15:
                    await self._get(ledger, memory, chance)
                else:
                    await self._search(ledger, memory, chance, chance.choice(choices))
            await asyncio.sleep(READ_PAUSE_S / self._pace)

    async def _get(self, ledger: AgentLedger, memory: Memory, chance: random.Random) -> None:
        if memory.id is None:
            return
        service = chance.randrange(len(self._clients))
        asked = Asked(ledger.agent, "eventual", time.monotonic(), service, memory.vector)
        answer = await self._send(service, "GET", f"/v1/episodic/{memory.agent}/{memory.id}")
        if answer is None or answer.status_code not in {200, 404}:
            return
        self._read_well("gets", ledger.agent)
        if answer.status_code == 404:
            self.findings += ledger.missed(asked, memory)
        else:
            self.findings += ledger.check_record(asked, answer.json())

    async def _search(
        self,
        ledger: AgentLedger,
        memory: Memory,
        chance: random.Random,
        consistency: Consistency,
    ) -> None:
        service = chance.randrange(len(self._clients))
        known_at, said = time.monotonic(), str(consistency)
        if consistency == "token":
            # Everything that this writer had confirmed until then came before it.
            known_at, said = memory.confirmed_at, memory.token
            if not said:
                return
        vector = memory.vector
        if chance.random() < 0.5:  # the same questions again and again: the cache's turn
            vector = ledger.memories[memory.number % OFTEN_ASKED].vector
        else:
            noise = np.random.default_rng(chance.getrandbits(32)).normal(size=DIMENSION)
            vector = (vector + 0.3 * noise).astype(np.float32)
        asked = Asked(ledger.agent, consistency, known_at, service, vector)
        body = {
            "agent_id": ledger.agent,
            "state_vector": vector.tolist(),
            "top_k": asked.top_k,
            "consistency": said,
        }
        answer = await self._send(service, "POST", "/v1/episodic/search", json=body)
        if answer is None or answer.status_code != 200:
            return
        found = answer.json()
        self._read_well("searches", ledger.agent)
        self.counts["answers from cache"] += found["cached"]
        self.counts["answers from copies"] += found["served_by"] == "process"
        findings = ledger.check_search(asked, found)
        self.findings += findings
        await self._look_after(ledger, findings)

    async def _look_after(self, ledger: AgentLedger, findings: Sequence[Finding]) -> None:
        """Count what the master itself lacks as lost, since the answer without it shows that."""
        behind = [f for f in findings if f.asked is not None and f.asked.consistency != "eventual"]
        behind = [finding for finding in behind if finding.kind == "behind"]
        if not behind:
            return
        memories = [ledger.memories[finding.number] for finding in behind]
        records = await asyncio.to_thread(self._records, memories)
        for finding in behind:
            if finding.number not in records:
                continue
            record, which = records[finding.number], (ledger.agent, finding.number)
            if finding.what == LACKS and record is None:
                self.vanished.add(which)
            elif finding.what == SHOWS_DELETED and record is not None:
                self.reappeared.add(which)
            elif finding.what == LACKS_OUTCOME and record and record["reward"] is None:
                self.reopened.add(which)

    def _read_well(self, what: str, agent: str) -> None:
        self.counts[f"{what} answered"] += 1
        self.checked[self.level_of[agent]] += 1
        self.reads[self._part_of[agent]].answered()
