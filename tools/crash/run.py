"""One run: start everything, load it, crash it, look for every confirmed memory."""

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tools.crash.audit import Losses, audit
from tools.crash.deployment import Deployment, NotWhole, Topology
from tools.crash.faults import LONGEST_S, Injector, Kind, Role, kinds_of, plan
from tools.crash.load import LEVELS, Level, Load, Outage, Part
from tools.crash.memories import NEVER
from tools.crash.moves import Moves, place, shards_of, undisturbed
from tools.crash.network import LOOPBACK_NETWORK, Network
from tools.crash.verdict import Verdict, judge

WARM_UP_S = 2.0
AGENTS = 12
READERS = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run. `level` "mixed": each agent at one of those that the topology can reach.

    `overlapping`: faults do not wait for each other; `only` these faults.
    """

    minutes: float
    seed: int
    topology: Topology
    level: Level | Literal["mixed"]
    overlapping: bool = False
    longest_fault_s: float = LONGEST_S
    agents: int = AGENTS
    readers: int = READERS
    pace: float = 1.0
    only: tuple[tuple[Kind, Role], ...] = ()

    @property
    def levels(self) -> tuple[Level, ...]:
        """Return the levels that writers ask for."""
        if self.level != "mixed":
            return (self.level,)
        # A node that is alone has no replica to wait for.
        return ("memory", "fsynced") if self.topology == "single" else LEVELS


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without `what`: of which shard and level, from which second of the run on."""

    what: Literal["writes", "reads"]
    part: str
    at_s: float
    for_s: float
    during: str


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run."""

    plan: Plan
    verdict: Verdict
    faults: dict[str, int]
    counts: dict[str, int]
    refusals: dict[str, int]
    checked: dict[str, int]
    seconds: float
    slowest_recovery_s: float
    gaps: tuple[Gap, ...]
    moves: dict[str, int]
    undisturbed: dict[str, float]
    """The longest time without an answer of agents in one group while another group was hit."""


async def crash(
    wanted: Plan,
    folder: Path,
    *,
    network: Network = LOOPBACK_NETWORK,
    say: Callable[[str], None] = lambda line: None,
) -> Result:
    """Run it. `folder` keeps the logs."""
    async with AsyncExitStack() as stack:
        deployment = Deployment(wanted.topology, folder, network)
        stack.push_async_callback(asyncio.to_thread, deployment.stop)
        await asyncio.to_thread(deployment.start)
        shards = [""] * wanted.agents
        if wanted.topology == "groups":
            shards = shards_of(wanted.agents)
            await asyncio.to_thread(place, deployment, shards)
        load = Load(
            [service.url for service in deployment.services],
            seed=wanted.seed,
            shards=shards,
            readers=max(wanted.readers, len(shards) if any(shards) else 0),
            levels=wanted.levels,
            pace=wanted.pace,
            records=deployment.records,
        )
        stack.push_async_callback(load.aclose)
        injector = Injector(deployment, wanted.seed)
        moves = Moves(load, deployment, wanted.seed, shards)
        say(f"{wanted.topology}, {wanted.level}: load runs")
        began_at = time.monotonic()
        async with moves.going_on():
            await _under_load(
                wanted, load, injector, has_namespaces=network is not LOOPBACK_NETWORK
            )
        seconds = time.monotonic() - began_at
        say(f"{len(injector.done)} faults done, {load.counts['stores confirmed']} stores confirmed")
        losses = Losses()
        try:
            await asyncio.to_thread(deployment.until_whole)
            await moves.until_ended()
            await audit(deployment, load.ledgers, losses)
        except NotWhole as error:
            injector.not_whole.append(f"at the end: {error}")
        verdict = judge(
            load,
            losses,
            injector.done,
            injector.not_whole,
            is_single_fault=not wanted.overlapping,
        )
    return Result(
        plan=wanted,
        verdict=verdict,
        faults=dict(Counter(f"{done.fault.kind} {done.fault.role}" for done in injector.done)),
        counts=dict(load.counts),
        refusals=dict(load.refusals),
        checked=dict(losses.checked),
        seconds=seconds,
        slowest_recovery_s=max(
            (
                done.whole_at - done.began_at - done.fault.for_s
                for done in injector.done
                if done.whole_at < NEVER
            ),
            default=0.0,
        ),
        gaps=tuple(_gaps(load, injector, began_at)),
        moves=dict(moves.counts),
        undisturbed=undisturbed(load, deployment, injector.done),
    )


def _gaps(load: Load, injector: Injector, began_at: float) -> Iterator[Gap]:
    kinds: tuple[tuple[Literal["writes", "reads"], dict[Part, Outage]], ...] = (
        ("writes", load.writes),
        ("reads", load.reads),
    )
    for what, outages in kinds:
        for (shard, level), outage in outages.items():
            part = f"{shard} {level}".strip()
            for start, end in outage.gaps:
                during = _fault_at(start, injector)
                yield Gap(what, part, start - began_at, end - start, during)


async def _under_load(
    wanted: Plan, load: Load, injector: Injector, *, has_namespaces: bool
) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(load.run(stop))
    try:
        await asyncio.sleep(WARM_UP_S)
        kinds = wanted.only or kinds_of(wanted.topology, has_namespaces=has_namespaces)
        faults = plan(wanted.seed, kinds, longest_s=wanted.longest_fault_s)
        until = time.monotonic() + wanted.minutes * 60 - WARM_UP_S
        inject = injector.overlapping if wanted.overlapping else injector.one_at_a_time
        injecting = asyncio.create_task(inject(faults, until))
        await asyncio.wait([running, injecting], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            injecting.cancel()
        else:
            await injecting
            await asyncio.sleep(max(0.0, until - time.monotonic()))
    finally:
        stop.set()
        await running


def _fault_at(moment: float, injector: Injector) -> str:
    """Return what was wrong when a gap began."""
    for done in injector.done:
        if done.began_at - 1 <= moment <= done.whole_at:
            return f"{done.fault.kind} {done.name} for {done.fault.for_s} s"
    return "nothing"


def empty(folder: Path) -> None:
    """Delete the nodes' data and keep the logs."""
    for data in folder.glob("*/data"):
        shutil.rmtree(data, ignore_errors=True)
