"""What was answered at a moment is answered for ever: random histories, and what comes later.

HISTORIES of them here; `make try-future` asks as many as wanted, or as MINUTES allow.
"""

import argparse
import asyncio
import itertools
import random
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson
import uvloop

from app.settings import Settings
from bench.http_client import ConnectionPool, Reply
from tests.conftest import DIMENSION, running_service

HISTORIES = 12
T0 = 1_600_000_000.0
DAY = 86_400.0
NOW_DAY = 60
METRIC_EVERY = 3
"""In one history of three an agent learns a distance, and is asked by it."""

FIT_DAY = 50
LESSONS = 165
LESSON_DAYS = 0.36
"""From one lesson to the next: 138 of them are over on FIT_DAY, and the last on NOW_DAY."""
PASSING = ("took_ms", "cached", "served_by", "recall_id")
ARMED = {"arm_no_memory_share": 0.2, "arm_placebo_share": 0.4}


AT_ONCE = 8
"""Requests of a history that do not depend on each other."""


class Asking:
    """A lean client: httpx took half of a history's processor time."""

    def __init__(self, api: httpx.AsyncClient) -> None:
        self._host = f"{api.base_url.host}:{api.base_url.port}"
        self._pool = ConnectionPool(f"http://{self._host}", limit=AT_ONCE)

    async def get(self, path: str, **params: Any) -> Reply:
        return await self._send("GET", f"{path}?{urlencode(params)}", b"")

    async def post(self, path: str, body: dict[str, Any]) -> Reply:
        return await self._send("POST", path, orjson.dumps(body))

    async def patch(self, path: str, body: dict[str, Any]) -> Reply:
        return await self._send("PATCH", path, orjson.dumps(body))

    def close(self) -> None:
        self._pool.close()

    async def _send(self, method: str, path: str, body: bytes) -> Reply:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return await self._pool.send(head.encode() + body)


def vector(chance: random.Random) -> list[float]:
    return [chance.gauss(0, 1) for _ in range(DIMENSION)]


class History:
    """One swarm's life up to a day, and what happened to it later."""

    def __init__(self, asking: Asking, seed: int, *, is_judged: bool) -> None:
        self._asking = asking
        self._is_judged = is_judged
        self._chance = random.Random(seed)
        self._agents = [f"h{seed}-{name}" for name in "abc"]
        self._later = [f"{self._agents[0]}-later{i}" for i in range(5)]
        self._open: list[tuple[str, str, float]] = []
        self._stored: list[tuple[str, str]] = []
        self._known: list[tuple[str, str]] = []
        self._count = 0
        self._product = f"P{seed}"
        self._pupil = f"h{seed}-pupil"
        self._lessons = f"L{seed}"
        self._metric = ""
        self.retired = 0

    async def live(self, agents: list[str], first: int, last: int, count: int) -> None:
        await self._store([self._memory(agents, first, last) for _ in range(count)])

    async def teach(self) -> None:
        """Give an agent a past in which one number of a state matters, and learn a distance."""
        days = [LESSON_DAYS * i for i in range(LESSONS)]
        lessons = [self._lesson(day) for day in days]
        del (open_ := self._lesson(FIT_DAY + 35))["reward"], open_["outcome_at"]
        await self._store([*lessons, open_])
        fit = await self._learned()
        assert fit["distance"] is not None
        self._metric = fit["distance"]["id"]

    async def ask(self) -> list[bytes]:
        """The answers to some questions of the day, but for what differs from call to call."""
        asked = random.Random(self._product)
        as_of = T0 + NOW_DAY * DAY
        own = {"agent_id": self._agents[0], "as_of": as_of}
        asking = [
            *(self._read(f"/v1/episodic/{at}/{name}", as_of=as_of) for at, name in self._known),
            self._read(f"/v1/episodic/{self._agents[0]}/map", as_of=as_of),
            self._read("/v1/calibration", **own),
        ]
        for path, more in (
            ("estimate", {}),
            ("estimate", {"scope": "all", "product_id": self._product}),
            ("estimate", {"scope": "others", "product_id": self._product, "horizon": "3d"}),
            ("estimate", {"min_quality": 0.5, "scale": 2.0}),
            ("search", {"distinct": "outcome", "scope": "all", "product_id": self._product}),
            ("search", {"horizon": "3d"}),
            ("search", {"recall": True}),
            ("estimate", {"recall": True}),
            ("query", {}),
            ("query", {"sort_by": "reward", "limit": 7}),
            ("search", {"top_k": 50, "regime": "bull", "regime_policy": "prefer"}),
            ("search", {"scope": "others", "product_id": self._product, "max_distance": 0.9}),
            ("sample", {"seed": 1, "strategy": "prioritized"}),
            *(self._by_metric() if self._metric else ()),
        ):
            body: dict[str, Any] = {**own, **more}
            if path in {"estimate", "search"}:
                body["state_vector"] = vector(asked)
            asking.append(self._answer(path, body))
        answers = await asyncio.gather(*asking)
        if self._is_judged:
            scope = asked.choice(["own", "others", "all"])
            whose = {"scope": scope, "product_id": self._product}
            answers.append(await self._verdict(as_of, self._agents[0], **whose))
        if self._metric:
            answers.append(await self._verdict(as_of, self._pupil, metric=self._metric))
            answers.append(orjson.dumps(await self._taught()))
            await self._require_refused(T0 + FIT_DAY * DAY - 1)
        return answers

    async def _read(self, path: str, **params: Any) -> bytes:
        found = await self._asking.get(path, **params)
        assert found.status in {200, 404}, found.body
        return found.body if found.status == 200 else b""

    async def _answer(self, path: str, body: dict[str, Any]) -> bytes:
        found = await self._posted(f"/v1/episodic/{path}", body)
        for name in PASSING:
            found.pop(name, None)
        return orjson.dumps(found)

    def _by_metric(self) -> list[tuple[str, dict[str, Any]]]:
        own = {"agent_id": self._pupil, "metric": self._metric}
        others = {"product_id": self._lessons, "metric": self._metric, "scope": "others"}
        return [
            ("search", {**own, "top_k": 30}),
            ("estimate", {**own, "top_k": 30}),
            ("search", {**others, "distinct": "outcome"}),
        ]

    def remember(self) -> None:
        """Choose the memories that are asked for by their id."""
        self._known = self._stored[:6]

    async def _verdict(self, as_of: float, agent_id: str, **more: str) -> bytes:
        body = {"agent_id": agent_id, "as_of": as_of, "placebos": 19, **more}
        return orjson.dumps((await self._finished("/v1/evaluate", body))["result"])

    async def _learned(self) -> dict[str, Any]:
        body = {"agent_id": self._pupil, "as_of": T0 + FIT_DAY * DAY}
        return await self._finished("/v1/distances", body)

    async def _taught(self) -> dict[str, Any]:
        """What is learned as of the same moment once more, but for its id and when that was."""
        found = (await self._learned())["distance"]
        return {name: found[name] for name in ("known_at", "memories", "weights", "spread")}

    async def _finished(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        found = await self._posted(path, body)
        while found["status"] in {"queued", "running"}:
            await asyncio.sleep(0.01)
            found = orjson.loads(await self._read(f"{path}/{found['id']}"))
        assert found["status"] == "done", found
        return found

    async def _require_refused(self, as_of: float) -> None:
        """Questions as of a moment before the distance was learned are refused, in every route."""
        asked = {"agent_id": self._pupil, "metric": self._metric, "as_of": as_of}
        state = [1.0] * DIMENSION
        for path, more in (
            ("episodic/search", {"state_vector": state}),
            ("episodic/estimate", {"state_vector": state}),
            ("evaluate", {}),
        ):
            answer = await self._asking.post(f"/v1/{path}", {**asked, **more})
            assert orjson.loads(answer.body)["code"] == "metric_from_the_future", answer.body

    async def prune(self) -> None:
        """Retention of some agents, by age, and deletions by what came of the memories."""
        some = self._chance.sample(self._agents, self._chance.randint(1, 3))
        for agent_id in [*some, *([self._pupil] if self._metric else [])]:
            if self._chance.random() < 0.6:
                oldest = T0 + DAY * self._chance.uniform(5, 80)
                rules = {
                    "agent_id": agent_id,
                    "dry_run": False,
                    "episodic_max_age_days": (time.time() - oldest) / DAY,
                    "episodic_age_by": "timestamp",
                }
                answer = await self._posted("/v1/retention", rules)
                self.retired += answer["episodic"]["retired"]
            else:
                bound = self._chance.choice(["min_reward", "max_reward"])
                body = {
                    "agent_id": agent_id,
                    "dry_run": False,
                    bound: self._chance.gauss(0, 1),
                }
                answer = await self._posted("/v1/episodic/delete", body)
                self.retired += answer["deleted"]

    async def go_on(self) -> None:
        """Later memories, later agents, late outcomes, ratings of today, and pruning."""
        await self.live(self._agents, NOW_DAY + 1, NOW_DAY + 30, 10)
        await self.live(self._later, NOW_DAY + 1, 90, 10)
        await asyncio.gather(*map(self._close, self._open))
        if self._chance.random() < 0.5:
            await self.prune()
        await asyncio.gather(*map(self._rate, self._chance.sample(self._stored, 16)))
        if self._metric:
            await self._store([self._lesson(day) for day in range(NOW_DAY + 1, NOW_DAY + 31, 3)])
        await self.prune()

    async def forget(self) -> None:
        """Erase everything: questions over all agents ask all that there are."""
        everyone = [*self._agents, *self._later, *([self._pupil] if self._metric else [])]
        await asyncio.gather(*map(self._erase, everyone))

    async def _erase(self, agent_id: str) -> None:
        left = 1
        while left:
            body = {"agent_id": agent_id, "dry_run": False, "erase": True}
            left = (await self._posted("/v1/episodic/delete", body))["remaining"]

    async def _close(self, memory: tuple[str, str, float]) -> None:
        agent_id, name, start = memory
        later = max(start, T0 + NOW_DAY * DAY) + DAY * self._chance.randint(1, 20)
        body = {"reward": self._chance.gauss(0, 1), "outcome_at": later}
        await self._tell(f"/{agent_id}/{name}/outcome", body)

    async def _rate(self, memory: tuple[str, str]) -> None:
        agent_id, name = memory
        rating = {"priority": self._chance.random(), "quality": 0.9}
        rated = await self._asking.patch(f"/v1/episodic/{agent_id}/{name}", rating)
        assert rated.status in {200, 404}, rated.body
        outcome = {"horizon": "late", "reward": 1.0, "outcome_at": T0 + 200 * DAY}
        await self._tell(f"/{agent_id}/{name}/outcome", {"outcomes": [outcome]})

    async def _store(self, memories: list[dict[str, Any]]) -> None:
        answer = await self._posted("/v1/episodic/batch", {"memories": memories})
        assert answer["failed"] == 0, answer

    async def _tell(self, path: str, body: dict[str, Any]) -> None:
        answer = await self._asking.post(f"/v1/episodic{path}", body)
        # 404: it has been pruned.
        assert answer.status in {200, 404, 409}, answer.body

    async def _posted(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self._asking.post(path, body)
        assert answer.status in {200, 202}, answer.body
        found: dict[str, Any] = orjson.loads(answer.body)
        return found

    def _lesson(self, day: float) -> dict[str, Any]:
        """A memory of the pupil that is over before the next one, and is rated later."""
        chance, self._count = self._chance, self._count + 1
        state, start = vector(chance), T0 + day * DAY
        lesson: dict[str, Any] = {
            "id": f"m{self._count}",
            "agent_id": self._pupil,
            "product_id": self._lessons,
            "regime": "calm",
            "action": "hold",
            "state_vector": state,
            "reward": state[0] + chance.gauss(0, 0.3),
            "timestamp": start,
            "outcome_at": start + 0.3 * DAY,
        }
        self._stored.append((self._pupil, lesson["id"]))
        return lesson

    def _memory(self, agents: list[str], first: int, last: int) -> dict[str, Any]:
        chance, self._count = self._chance, self._count + 1
        agent_id, start = chance.choice(agents), T0 + DAY * chance.randint(first, last)
        memory: dict[str, Any] = {
            "id": f"m{self._count}",
            "agent_id": agent_id,
            "product_id": self._product,
            "regime": chance.choice(["bull", "bear"]),
            "action": chance.choice(["buy", "sell", None]),
            "state_vector": vector(chance),
            "timestamp": start,
            "scale": chance.choice([None, 1.0, 3.0]),
        }
        self._stored.append((agent_id, memory["id"]))
        if chance.random() < 0.2:
            self._open.append((agent_id, memory["id"], start))
        else:
            memory["reward"] = chance.gauss(0, 1)
            memory["outcome_at"] = start + DAY * chance.randint(0, 10)
        if chance.random() < 0.5:
            memory["outcomes"] = [
                {"horizon": "3d", "reward": chance.gauss(0, 1), "outcome_at": start + 3 * DAY}
            ]
        return {name: value for name, value in memory.items() if value is not None}


class Tried:
    """What many histories showed: how many there were, and how many answers differ in any byte."""

    def __init__(self) -> None:
        self.histories = self.differing = self.retired = 0

    def __str__(self) -> str:
        return (
            f"{self.differing} answers differ in {self.histories} histories, "
            f"in which {self.retired} memories retired"
        )

    async def live_through(self, asking: Asking, seed: int, *, rarely: int = 1) -> None:
        """Ask one history before and after what comes later.

        What takes long, verdicts and learned distances, is in one of `rarely` histories.
        """
        history = History(asking, seed, is_judged=seed % rarely == 0)
        await history.live(history._agents, 0, NOW_DAY, 45)
        history.remember()
        if seed % (METRIC_EVERY * rarely) == 0:
            await history.teach()
        before = await history.ask()
        await history.go_on()
        after = await history.ask()
        await history.forget()
        for one, other in zip(before, after, strict=True):
            if one != other:
                self.differing += 1
                sys.stderr.write(f"history {seed}\n{one!r}\n{other!r}\n")
        self.histories += 1
        self.retired += history.retired


async def test_not_one_byte_differs(settings: Settings) -> None:
    tried = Tried()
    async with running_service(settings.model_copy(update=ARMED)) as api:
        asking = Asking(api)
        for seed in range(HISTORIES):
            await tried.live_through(asking, seed)
        asking.close()
    assert tried.differing == 0
    assert tried.retired


PER_SERVICE = 200
"""Emptied indexes remain for a while: a fresh service now and then."""

RARELY = 10


async def _many(first: int, count: int, minutes: float) -> Tried:
    """Live through histories, from the first seed on, until the time is over."""
    tried, ends_at = Tried(), time.monotonic() + 60.0 * minutes
    seeds = iter(range(first, first + count))
    while tried.histories < count and time.monotonic() < ends_at:
        with TemporaryDirectory() as folder:
            settings = Settings(data_dir=Path(folder), dimension=DIMENSION)
            async with running_service(settings.model_copy(update=ARMED)) as api:
                asking = Asking(api)
                for seed in itertools.islice(seeds, PER_SERVICE):
                    await tried.live_through(asking, seed, rarely=RARELY)
                    if time.monotonic() > ends_at:
                        break
                asking.close()
        sys.stdout.write(f"{tried}\n")
        sys.stdout.flush()
    return tried


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.api.test_nothing_of_the_future")
    parser.add_argument("histories", type=int)
    parser.add_argument("--minutes", type=float, default=600.0, help="at the longest (600)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    options = parser.parse_args()
    tried = uvloop.run(_many(options.first, options.histories, options.minutes))
    sys.exit(bool(tried.differing))
