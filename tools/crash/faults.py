"""Draws faults from the seed and does them to what runs."""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tools.crash.deployment import Deployment, NotWhole, Topology, is_watched
from tools.crash.memories import NEVER

Kind = Literal["kill", "pause", "kill and wipe", "cut off", "cut off with a service"]
Role = Literal["service", "master", "replica", "sentinel"]

SHORTEST_S, LONGEST_S = 0.2, 7.0
BETWEEN_S = (0.5, 2.5)
LOOK_PAUSE_S = 0.5
SENTINELS_MAJORITY = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong for `for_s` seconds, `after_s` seconds after the one before."""

    kind: Kind
    role: Role
    for_s: float
    after_s: float


@dataclass(frozen=True, slots=True)
class Done:
    """A fault as it happened. `whole_at`: when everything was seen to have recovered by itself."""

    fault: Fault
    name: str
    began_at: float
    ended_at: float
    whole_at: float = NEVER

    @property
    def hit_the_master(self) -> bool:
        """Return whether writes, and the latest written data, were out of reach."""
        return self.fault.role == "master"


def kinds_of(topology: Topology, *, has_namespaces: bool) -> list[tuple[Kind, Role]]:
    """Return what can go wrong with this topology, with the master's faults twice."""
    both: tuple[Kind, ...] = ("kill", "pause")
    roles: dict[Topology, Sequence[Role]] = {
        "single": ("service", "master"),
        "replicas": ("service", "master", "master", "replica"),
        "sentinel": ("service", "master", "master", "replica", "sentinel"),
        "groups": ("service", "master", "master", "replica", "sentinel"),
    }
    found: list[tuple[Kind, Role]] = [(kind, role) for role in roles[topology] for kind in both]
    if "replica" in roles[topology]:
        found.append(("kill and wipe", "replica"))
    if is_watched(topology):
        found.append(("kill and wipe", "master"))
    if has_namespaces:
        # Those alone: kills and pauses have runs of their own.
        cut: list[tuple[Kind, Role]] = [("cut off", "master"), ("cut off with a service", "master")]
        found = cut if is_watched(topology) else [("cut off", "master")]
    return found


def plan(
    seed: int, kinds: Sequence[tuple[Kind, Role]], *, longest_s: float = LONGEST_S
) -> Iterator[Fault]:
    """Yield faults forever. Each kind comes once before one comes again, in random order."""
    chance = random.Random(f"{seed} faults")
    while True:
        for kind, role in chance.sample(kinds, len(kinds)):
            length_s = chance.uniform(SHORTEST_S, longest_s)
            if kind.startswith("cut off"):
                length_s += LONGEST_S  # long enough for a promotion
            yield Fault(kind, role, round(length_s, 2), round(chance.uniform(*BETWEEN_S), 2))


class Injector:
    """Does the plan's faults to a deployment; `done` is what happened."""

    def __init__(self, deployment: Deployment, seed: int) -> None:
        self.done: list[Done] = []
        self.not_whole: list[str] = []
        self._deployment = deployment
        self._chance = random.Random(f"{seed} targets")
        self._busy: set[str] = set()
        self._choosing = asyncio.Lock()

    async def one_at_a_time(self, faults: Iterator[Fault], until: float) -> None:
        """Begin each fault when everything has recovered from the one before."""
        for fault in faults:
            await asyncio.sleep(fault.after_s)
            if time.monotonic() + fault.for_s > until:
                return
            await self._do(fault)
            await self._until_whole()

    async def overlapping(self, faults: Iterator[Fault], until: float) -> None:
        """Begin each fault whatever is still broken; the Sentinels keep their majority."""
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(self._look_whether_whole())
            async with asyncio.TaskGroup() as injecting:
                for fault in faults:
                    await asyncio.sleep(fault.after_s)
                    if time.monotonic() + fault.for_s > until:
                        break
                    injecting.create_task(self._do(fault))
            looking.cancel()

    async def _do(self, fault: Fault) -> None:
        async with self._choosing:
            name = await asyncio.to_thread(self._aim, fault.role)
            if name is None:  # all of its kind are out of order already
                return
            self._busy.add(name)
        began_at = time.monotonic()
        try:
            await asyncio.to_thread(self._begin, fault, name)
            await asyncio.sleep(fault.for_s)
            await asyncio.to_thread(self._end, fault, name)
        finally:
            self._busy.discard(name)
        self.done.append(Done(fault, name, began_at, time.monotonic()))

    async def _until_whole(self) -> None:
        done = self.done[-1]
        try:
            await asyncio.to_thread(self._deployment.until_whole)
        except NotWhole as error:
            fault = done.fault
            self.not_whole.append(f"after {fault.kind} {done.name} for {fault.for_s} s: {error}")
        self.done[-1] = replace(done, whole_at=time.monotonic())

    async def _look_whether_whole(self) -> None:
        """Note it of all faults that are over whenever there is a moment without any trouble."""
        while True:
            await asyncio.sleep(LOOK_PAUSE_S)
            asked_at = time.monotonic()
            if self._busy:
                continue
            if await asyncio.to_thread(self._deployment.problems):
                continue
            self.done = [
                replace(done, whole_at=asked_at)
                if done.whole_at == NEVER and done.ended_at < asked_at
                else done
                for done in self.done
            ]

    def _aim(self, role: Role) -> str | None:
        """Return the part to which a fault of this role is done. None if no part is left for it."""
        deployment = self._deployment
        match role:
            case "service":
                names = [service.name for service in deployment.services]
            case "master":
                names = deployment.masters()
            case "replica":
                names = deployment.replicas()
            case "sentinel":
                names = list(deployment.sentinels)
        free = [name for name in names if name not in self._busy]
        down = len(names) - len(free)
        is_too_many = role == "sentinel" and len(free) - 1 < SENTINELS_MAJORITY
        if not free or is_too_many or (role == "service" and down):
            return None
        return self._chance.choice(free)

    def _begin(self, fault: Fault, name: str) -> None:
        deployment = self._deployment
        match fault.kind:
            case "kill":
                deployment.kill(name)
            case "kill and wipe":
                deployment.kill(name)
                deployment.wipe(name)
            case "pause":
                deployment.pause(name)
            case "cut off":
                others = [n for n in (*deployment.nodes, *deployment.sentinels) if n != name]
                deployment.network.cut([name], others)
            case "cut off with a service":
                side = [name, deployment.services[-1].name]
                others = [n for n in deployment.names() if n not in side]
                deployment.network.cut(side, others)

    def _end(self, fault: Fault, name: str) -> None:
        deployment = self._deployment
        match fault.kind:
            case "kill" | "kill and wipe":
                deployment.start_again(name)
            case "pause":
                deployment.go_on(name)
            case _:
                deployment.network.heal()
