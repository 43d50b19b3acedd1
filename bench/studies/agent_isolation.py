"""Random requests of two agents with a key each, on all routes: does any answer carry what is the
other's?

python -m bench.studies.agent_isolation --requests 100000

Everything that an agent stores carries its mark: in product, regime, action, metadata. Half of the
requests reach for the other's: its name, a scope, ids, cursors and tokens out of its answers. An
answer that carries the other's mark is a leak, and so is any status but 401 and 403 for a request
that names the other. Exit status 1 then.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson

from app.api.permissions import OPEN, RULES
from app.auth.key_store import FileKeyStore
from app.auth.keys import KeyRecord, new_key
from app.decisions.recall_ids import Shares, new_recall_id
from app.model import ARMS
from bench.service import running_service

DIMENSION = 8
CALLERS_EACH = 8
REFUSED = {"agent_forbidden", "scope_forbidden"}
SEED_MEMORIES = 30
OPEN_SHARE = 0.06
HTTP_ERROR = 400
MCP = "/mcp"
EXTRA_HEADERS = {
    MCP: {"Accept": "application/json, text/event-stream"},
    "/v1/live": {"X-Deadline-Ms": "1200"},
}
"""The stream of events ends half a second before its time limit."""

Route = tuple[str, str]
"""A method and a path template."""


@dataclass
class Agent:
    """One agent, its key, and what its answers gave."""

    name: str
    mark: str
    key: str
    cursors: list[str] = field(default_factory=lambda: ["none"])
    tokens: list[str] = field(default_factory=lambda: [f"{'0' * 40}:1"])
    positions: list[str] = field(default_factory=list)

    @property
    def headers(self) -> dict[str, str]:
        """How it authenticates."""
        return {"Authorization": f"Bearer {self.key}"}


@dataclass
class Tally:
    """What came of the requests: how many by route and status, and every leak in words."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    reaching: int = 0
    leaks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Asked:
    """A request; `reaches`: it asks for the other's."""

    method: str
    template: str
    path: str
    body: Any
    reaches: bool


class Asker:
    """Makes random requests of one agent that knows the other one."""

    def __init__(self, own: Agent, other: Agent, rng: random.Random) -> None:
        self.own = own
        self.other = other
        self._rng = rng
        self._makers: dict[Route, Callable[[], tuple[str, Any, bool]]] = {
            ("POST", "/v1/episodic"): self._store,
            ("POST", "/v1/episodic/batch"): self._store_batch,
            ("POST", "/v1/episodic/search"): self._search,
            ("POST", "/v1/episodic/search/batch"): self._search_batch,
            ("POST", "/v1/episodic/estimate"): self._estimate,
            ("POST", "/v1/episodic/sample"): self._sample,
            ("POST", "/v1/episodic/query"): self._query,
            ("POST", "/v1/episodic/delete"): self._delete_matching,
            ("POST", "/v1/retention"): self._retention,
            ("GET", "/v1/stats"): self._stats,
            ("GET", "/v1/slow-queries"): lambda: ("/v1/slow-queries?limit=1000", None, False),
            ("GET", "/v1/episodic/{agent_id}/{id}"): self._read,
            ("DELETE", "/v1/episodic/{agent_id}/{id}"): self._one,
            ("PATCH", "/v1/episodic/{agent_id}/{id}"): self._rate,
            ("POST", "/v1/episodic/{agent_id}/{id}/outcome"): self._close,
            ("POST", "/v1/semantic"): lambda: ("/v1/semantic", self._concept(), True),
            ("POST", "/v1/semantic/batch"): self._concepts,
            ("POST", "/v1/semantic/search"): self._search_concepts,
            ("POST", "/v1/semantic/query"): lambda: ("/v1/semantic/query", {}, False),
            ("POST", "/v1/semantic/delete"): self._delete_concepts,
            ("GET", "/v1/semantic/{id}"): lambda: (f"/v1/semantic/{self._id()}", None, False),
            ("PATCH", "/v1/semantic/{id}"): self._change_concept,
            ("DELETE", "/v1/semantic/{id}"): lambda: (f"/v1/semantic/{self._id()}", None, True),
            ("GET", "/metrics"): lambda: ("/metrics", None, True),
            ("GET", "/v1/whoami"): lambda: ("/v1/whoami", None, False),
            ("GET", "/v1/live"): lambda: ("/v1/live", None, False),
            ("GET", "/v1/agents"): self._agents,
            ("GET", "/v1/agents/{agent_id}"): lambda: self._of_agent("/v1/agents/{}"),
            ("GET", "/v1/agents/{agent_id}/growth"): lambda: self._of_agent("/v1/agents/{}/growth"),
            ("POST", "/v1/agents/{agent_id}/move"): self._move,
            ("GET", "/v1/calibration"): self._calibration,
            ("POST", "/v1/evaluate"): self._evaluate,
            ("GET", "/v1/evaluate/{id}"): lambda: ("/v1/evaluate/none", None, False),
            ("DELETE", "/v1/evaluate/{id}"): lambda: ("/v1/evaluate/none", None, False),
            ("POST", "/v1/distances"): self._learn,
            ("GET", "/v1/distances"): lambda: self._of_agent("/v1/distances?agent_id={}"),
            ("GET", "/v1/distances/{id}"): self._distance,
            ("DELETE", "/v1/distances/{id}"): self._distance,
            ("PUT", "/v1/distances/{id}/promotion"): self._promote,
            ("DELETE", "/v1/distances/{id}/promotion"): lambda: self._of_agent(
                "/v1/distances/{}:none/promotion"
            ),
            ("POST", "/v1/decisions"): self._decide,
            ("POST", "/v1/decisions/{recall_id}/outcome"): self._close_decision,
            ("GET", "/v1/uplift"): self._uplift,
            ("GET", "/v1/episodic/{agent_id}/map"): lambda: self._of_agent("/v1/episodic/{}/map"),
            ("GET", "/v1/episodic/{agent_id}/snapshot"): self._snapshot,
            ("GET", "/v1/episodic/{agent_id}/changes"): self._changes,
            ("POST", "/v1/episodic/priorities"): self._prioritize,
            ("POST", MCP): self._call_tool,
        }

    @property
    def covered(self) -> set[Route]:
        """The routes that it can ask."""
        return {*self._makers, *OPEN_ROUTES}

    def make(self, turn: int) -> Asked:
        """Return a request: the first turns go through all routes, later ones to any."""
        routes = [*ROUTES, *OPEN_ROUTES]
        if turn < len(routes):
            method, template = routes[turn]
        elif self._rng.random() < OPEN_SHARE:
            method, template = self._rng.choice(OPEN_ROUTES)
        else:
            method, template = self._rng.choice(ROUTES)
        if (method, template) in OPEN_ROUTES:
            return Asked(method, template, template, None, reaches=False)
        path, body, reaches = self._makers[method, template]()
        return Asked(method, template, path, body, reaches)

    def _one(self) -> tuple[str, Any, bool]:
        """Name a memory of this or of the other agent, which may be there."""
        agent = self._agent()
        return f"/v1/episodic/{agent.name}/{self._id()}", None, self._is_other(agent)

    def _read(self) -> tuple[str, Any, bool]:
        path, _, reaches = self._one()
        return path + self._rng.choice(["", f"?as_of={self._moment()}"]), None, reaches

    def _rate(self) -> tuple[str, Any, bool]:
        path, _, reaches = self._one()
        return path, {self._rng.choice(["priority", "quality"]): self._rng.random()}, reaches

    def _close(self) -> tuple[str, Any, bool]:
        path, _, reaches = self._one()
        return f"{path}/outcome", {"reward": self._rng.random()}, reaches

    def _search_concepts(self) -> tuple[str, Any, bool]:
        return "/v1/semantic/search", {"concept_vector": self._vector(), "top_k": 5}, False

    def _change_concept(self) -> tuple[str, Any, bool]:
        return f"/v1/semantic/{self._id()}", {"win_rate": 0.5}, True

    def _agent(self) -> Agent:
        return self._rng.choice((self.own, self.other))

    def _is_other(self, agent: Agent) -> bool:
        return agent is self.other

    def _id(self) -> str:
        return f"m{self._rng.randrange(60)}"

    def _moment(self) -> float:
        return time.time() - self._rng.randrange(100 * 86_400)

    def _vector(self) -> list[float]:
        return [self._rng.uniform(-1, 1) for _ in range(DIMENSION)]

    def memory_of(self, agent: Agent) -> dict[str, Any]:
        """Return a random memory under this agent's name."""
        # Marked by who sends it: under the other's name it would be a leak the other way round.
        mark = self.own.mark
        return {
            "agent_id": agent.name,
            "id": self._id(),
            "product_id": mark,
            "regime": f"regime {mark}",
            "action": self._rng.choice(["buy", mark]),
            "state_vector": self._vector(),
            "timestamp": self._moment(),
            "metadata": {"of": mark},
            **({"reward": self._rng.random()} if self._rng.random() < 0.7 else {}),
        }

    def _store(self) -> tuple[str, Any, bool]:
        agent = self._agent()
        return "/v1/episodic", self.memory_of(agent), self._is_other(agent)

    def _store_batch(self) -> tuple[str, Any, bool]:
        agents = [self._agent() for _ in range(4)]
        items = [self.memory_of(agent) for agent in agents]
        return "/v1/episodic/batch", {"memories": items}, any(map(self._is_other, agents))

    def _conditions(self, agent: Agent) -> dict[str, Any]:
        found: dict[str, Any] = {"agent_id": agent.name}
        if self._rng.random() < 0.3:
            found["product_id"] = [self._agent().mark, "*", "x | *"]
        if self._rng.random() < 0.2:
            found["min_reward"] = 0
        if self._rng.random() < 0.2:
            found["as_of"] = self._moment()
        return found

    def _question(self) -> tuple[dict[str, Any], bool]:
        agent = self._agent()
        scope = self._rng.choice(["own", "own", "others", "all"])
        question = self._conditions(agent) | {
            "state_vector": self._vector(),
            "top_k": self._rng.choice([1, 10, 1000]),
            "scope": scope,
            "consistency": self._rng.choice(["eventual", "strong", *self._agent().tokens[-3:]]),
            "include_vectors": self._rng.random() < 0.1,
            "recall": self._rng.random() < 0.3,
            "explain": self._rng.random() < 0.1,
        }
        return question, self._is_other(agent) or scope != "own"

    def _search(self) -> tuple[str, Any, bool]:
        question, reaches = self._question()
        return "/v1/episodic/search", question, reaches

    def _estimate(self) -> tuple[str, Any, bool]:
        question, reaches = self._question()
        del question["include_vectors"], question["explain"]
        return "/v1/episodic/estimate", question, reaches

    def _sample(self) -> tuple[str, Any, bool]:
        """Return a sample of the own memory, the other's, or without a name, of all agents."""
        agent = self._rng.choice([self.own, self.other, None])
        body: dict[str, Any] = {"size": self._rng.choice([1, 32]), "seed": self._rng.randrange(9)}
        if agent is not None:
            body |= self._conditions(agent)
        if agent is not None and self._rng.random() < 0.3:
            body = {"agent_id": agent.name, "size": 1}
            body["cursor"] = self._rng.choice(self._agent().cursors[-3:])
        return "/v1/episodic/sample", body, agent is not self.own

    def _search_batch(self) -> tuple[str, Any, bool]:
        questions = [self._question() for _ in range(3)]
        body = {"searches": [question for question, _ in questions]}
        return "/v1/episodic/search/batch", body, any(reaches for _, reaches in questions)

    def _query(self) -> tuple[str, Any, bool]:
        agent = self._agent()
        body = self._conditions(agent) | {"limit": self._rng.choice([1, 100])}
        if self._rng.random() < 0.5:
            body = {"agent_id": agent.name, "limit": 1}
            body["cursor"] = self._rng.choice(self._agent().cursors[-3:])
        return "/v1/episodic/query", body, self._is_other(agent)

    def _delete_matching(self) -> tuple[str, Any, bool]:
        agent = self._agent()
        body = self._conditions(agent) | {"dry_run": self._rng.random() < 0.98}
        return "/v1/episodic/delete", body, self._is_other(agent)

    def _move(self) -> tuple[str, Any, bool]:
        path, _, is_foreign = self._of_agent("/v1/agents/{}/move")
        return path, {}, is_foreign

    def _retention(self) -> tuple[str, Any, bool]:
        agent = self._agent()
        return (
            "/v1/retention",
            {"agent_id": agent.name, "dry_run": self._rng.random() < 0.9},
            self._is_other(agent),
        )

    def _stats(self) -> tuple[str, Any, bool]:
        if self._rng.random() < 0.3:
            agent = self._agent()
            return f"/v1/stats?agent_id={agent.name}", None, self._is_other(agent)
        return f"/v1/stats?limit={self._rng.choice([1, 100])}", None, False

    def _of_agent(self, path: str) -> tuple[str, Any, bool]:
        agent = self._agent()
        return path.format(agent.name), None, self._is_other(agent)

    def _agents(self) -> tuple[str, Any, bool]:
        return "/v1/agents" + self._rng.choice(["", "?cursor=a", "?limit=1"]), None, False

    def _calibration(self) -> tuple[str, Any, bool]:
        path, _, reaches = self._of_agent("/v1/calibration?top_k=5&agent_id={}")
        scope = self._rng.choice(["own", "own", "others", "all"])
        return f"{path}&scope={scope}", None, reaches or scope != "own"

    def _evaluate(self) -> tuple[str, Any, bool]:
        agent = self._agent()
        return "/v1/evaluate", {"agent_id": agent.name, "top_k": 5}, self._is_other(agent)

    def _learn(self) -> tuple[str, Any, bool]:
        agent = self._agent()
        return "/v1/distances", {"agent_id": agent.name}, self._is_other(agent)

    def _distance(self) -> tuple[str, Any, bool]:
        """Name a distance that is unknown: another's is answered in the same way, 404."""
        return f"/v1/distances/{self._agent().name}:none", None, False

    def _promote(self) -> tuple[str, Any, bool]:
        path, _, reaches = self._of_agent("/v1/distances/{}:none/promotion")
        return path, {"evaluation_id": "none"}, reaches

    def _recall_id(self, agent: Agent) -> str:
        """Return the id of a recall of this agent; of ten units, so that some decisions are
        there."""
        arm, unit = self._rng.choice(ARMS), bytes([0] * 7 + [self._rng.randrange(10)])
        return new_recall_id(agent.name, arm, Shares(3000, 3000), unit, time.time())

    def _decide(self) -> tuple[str, Any, bool]:
        agent = self._agent()
        body = {"recall_id": self._recall_id(agent), "action": self.own.mark}
        return "/v1/decisions", body | {"product_id": self.own.mark}, self._is_other(agent)

    def _close_decision(self) -> tuple[str, Any, bool]:
        agent = self._agent()
        path = f"/v1/decisions/{self._recall_id(agent)}/outcome"
        return path, {"reward": self._rng.random()}, self._is_other(agent)

    def _uplift(self) -> tuple[str, Any, bool]:
        path, _, reaches = self._of_agent("/v1/uplift?agent_id={}")
        return self._rng.choice([(path, None, reaches), ("/v1/uplift?limit=1", None, False)])

    def _snapshot(self) -> tuple[str, Any, bool]:
        path, _, reaches = self._of_agent("/v1/episodic/{}/snapshot")
        cursor = self._rng.choice(self._agent().cursors[-3:])
        return path + self._rng.choice(["", f"?cursor={cursor}"]), None, reaches

    def _changes(self) -> tuple[str, Any, bool]:
        path, _, reaches = self._of_agent("/v1/episodic/{}/changes")
        after = self._rng.choice([*self._agent().positions[-3:], "0-0"])
        return path + self._rng.choice(["", f"?after={after}"]), None, reaches

    def _prioritize(self) -> tuple[str, Any, bool]:
        agent = self._agent()
        priorities = [{"id": self._id(), "priority": self._rng.random()} for _ in range(3)]
        body = {"agent_id": agent.name, "priorities": priorities}
        return "/v1/episodic/priorities", body, self._is_other(agent)

    def _call_tool(self) -> tuple[str, Any, bool]:
        agent = self._agent()
        given: dict[str, Any] = {"agent_id": agent.name}
        tool = self._rng.choice(["recall", "query"])
        if tool == "recall":
            given |= {"state_vector": self._vector(), "top_k": 5}
        call = {"name": tool, "arguments": given}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        return MCP, body, self._is_other(agent)

    def _concept(self) -> dict[str, Any]:
        return {
            "id": self._id(),
            "memory_type": "PATTERN",
            "regime_name": "r",
            "concept_vector": self._vector(),
            "sharpe_ratio": 1.0,
            "win_rate": 0.5,
        }

    def _concepts(self) -> tuple[str, Any, bool]:
        return "/v1/semantic/batch", {"memories": [self._concept()]}, True

    @staticmethod
    def _delete_concepts() -> tuple[str, Any, bool]:
        return "/v1/semantic/delete", {"dry_run": False}, True


def first_memories(agent: Agent, rng: random.Random) -> dict[str, Any]:
    """Return a batch of its own memories."""
    asker = Asker(agent, agent, rng)
    return {"memories": [asker.memory_of(agent) for _ in range(SEED_MEMORIES)]}


ROUTES = [route for route, rule in RULES.items() if rule != OPEN]
OPEN_ROUTES = [
    route
    for route, rule in RULES.items()
    if rule == OPEN and not route[1].startswith(("/static", "/docs"))
]


class RoutesLeftOut(Exception):
    """The service has routes that nobody here asks: a run would prove nothing of them."""

    def __init__(self, routes: set[Route]) -> None:
        super().__init__(f"Nobody asks {sorted(routes)}: have Asker make such requests.")


async def served_routes(client: httpx.AsyncClient) -> set[Route]:
    """Return every route that the service documents, and those that it serves beside them."""
    document = (await client.get("/openapi.json")).raise_for_status().json()
    documented = {
        (method.upper(), template)
        for template, operations in document["paths"].items()
        for method in operations
    }
    return documented | {*ROUTES, *OPEN_ROUTES}


async def ask_all(
    url: str, agents: tuple[Agent, Agent], requests: int, seed: int, tally: Tally
) -> None:
    """Send requests of both agents at the same time, after each stored something of its own."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        rng = random.Random(seed)
        pairs = [agents, agents[::-1]]
        left_out = await served_routes(client) - Asker(*agents, rng).covered
        if left_out:
            raise RoutesLeftOut(left_out)
        for own, _ in pairs:
            answer = await client.post(
                "/v1/episodic/batch", json=first_memories(own, rng), headers=own.headers
            )
            answer.raise_for_status()
        left = iter(range(requests))
        askers = [
            Asker(own, other, random.Random(f"{seed}/{n}/{own.name}"))
            for n in range(CALLERS_EACH)
            for own, other in pairs
        ]
        await asyncio.gather(*(_ask_some(client, asker, left, tally) for asker in askers))


async def _ask_some(client: httpx.AsyncClient, asker: Asker, left: Any, tally: Tally) -> None:
    for turn in left:
        asked = asker.make(turn)
        answer = await client.request(
            asked.method,
            asked.path,
            content=None if asked.body is None else orjson.dumps(asked.body),
            headers=asker.own.headers
            | {"Content-Type": "application/json"}
            | EXTRA_HEADERS.get(asked.template, {}),
        )
        tally.answers[f"{asked.method} {asked.template}", answer.status_code] += 1
        tally.reaching += asked.reaches
        problem = leak(asked, answer, asker.own, asker.other)
        if problem is not None:
            tally.leaks.append(f"{problem}: {asked.method} {asked.path} {asked.body!r}"[:500])
        _learn(answer, asker.own)


def leak(asked: Asked, answer: httpx.Response, own: Agent, other: Agent) -> str | None:
    """Return what an answer gives away, or None if nothing."""
    if asked.template == "/v1/slow-queries":  # its own questions for the other's mark are its own
        agents = {call["agent_id"] for call in answer.json()["slow_queries"]}
        return "another's slow query" if agents - {own.name} else None
    if other.mark in answer.text:
        return "the other's mark"
    if asked.template.endswith("batch") and answer.status_code == httpx.codes.OK:
        return _leak_of_batch(asked, answer.json()["results"], own)
    if asked.template == MCP and answer.status_code == httpx.codes.OK:
        return _leak_of_tool(asked, answer.json()["result"], other)
    if asked.template == "/v1/distances/{id}":  # its answer repeats the id asked for
        is_unknown = answer.status_code == httpx.codes.NOT_FOUND
        return None if is_unknown else f"status {answer.status_code} for an unknown distance"
    return _leak_of_one(asked, answer, other)


def _leak_of_one(asked: Asked, answer: httpx.Response, other: Agent) -> str | None:
    if asked.reaches:
        is_refused = answer.status_code == httpx.codes.FORBIDDEN
        return None if is_refused else f"status {answer.status_code} for what is not its own"
    if other.name in answer.text:
        return "the other's name"
    is_fault = answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR
    return f"status {answer.status_code}" if is_fault else None


def _leak_of_tool(asked: Asked, result: Any, other: Agent) -> str | None:
    """Return what a tool's answer, of status 200 even for an error, gives away."""
    if asked.reaches:
        is_refused = result["structuredContent"].get("code") in REFUSED
        return None if is_refused else "a tool answered for what is not its own"
    if other.name in str(result):
        return "the other's name"
    return "a tool refused its own" if result["isError"] else None


def _leak_of_batch(asked: Asked, results: Sequence[Any], own: Agent) -> str | None:
    items = asked.body.get("memories") or asked.body.get("searches")
    for item, result in zip(items, results, strict=True):
        code = (result.get("error") or result).get("code")
        is_own = item["agent_id"] == own.name and item.get("scope", "own") == "own"
        if not is_own and code not in REFUSED:
            return f"an item of the other's was answered {result!r}"[:200]
        if is_own and code in REFUSED:
            return "an item of its own was refused"
    return None


def _learn(answer: httpx.Response, own: Agent) -> None:
    if answer.status_code >= HTTP_ERROR or "json" not in answer.headers.get("content-type", ""):
        return
    content = answer.json() if answer.content else {}
    if content.get("next_cursor"):
        own.cursors.append(content["next_cursor"])
    if content.get("token"):
        own.tokens.append(content["token"])
    if content.get("next"):
        own.positions.append(content["next"])


async def two_agents(store: FileKeyStore) -> tuple[Agent, Agent]:
    """Create two agents with a new key each, of the highest role that is bound to an agent."""
    found = []
    for name in ("isolated_1", "isolated_2"):
        key, key_id, digest = new_key()
        record = KeyRecord(
            id=key_id, sha256=digest, role="admin", agents=(name,), created_at=time.time()
        )
        await store.write(record)
        found.append(Agent(name, f"mark-of-{name[::-1]}", key))
    return found[0], found[1]


def main() -> int:
    """Run it, print the counts, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layout", choices=["per_agent", "shared"], default="per_agent")
    arguments = parser.parse_args()
    started = time.monotonic()
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "keys"
        agents = asyncio.run(two_agents(FileKeyStore(file)))
        settings = {
            "MEMORY_API_KEYS_FILE": str(file),
            "MEMORY_DIMENSION": str(DIMENSION),
            "MEMORY_LAYOUT": arguments.layout,
            "MEMORY_SLOWLOG_SLOWER_THAN_US": "0",
        }
        with running_service(settings) as service:
            asyncio.run(ask_all(service.url, agents, arguments.requests, arguments.seed, tally))
    sys.stdout.write(report(tally, arguments.layout, time.monotonic() - started))
    return 1 if tally.leaks else 0


def report(tally: Tally, layout: str, seconds: float) -> str:
    """Return the counts by route and status, then the leaks."""
    total = sum(tally.answers.values())
    lines = [
        f"{total:,} requests of two agents in {seconds:.0f} s ({layout}), {tally.reaching:,} of "
        f"them for what is the other's; {len(tally.leaks)} leaks."
    ]
    for route in sorted({route for route, _ in tally.answers}):
        counts = sorted((s, n) for (r, s), n in tally.answers.items() if r == route)
        lines.append(f"| `{route}` | {', '.join(f'{s}: {n:,}' for s, n in counts)} |")
    return "\n".join([*lines, *tally.leaks[:20]]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
