"""What came of each action in similar moments: kernel-weighted statistics.

Neural Episodic Control takes the weighted mean of the neighbours' rewards for an action's value;
here comes with it how far that can be trusted. Every definition:
docs/reference/decisions-from-memories.md.

Plain Python: for the 10 to 100 neighbours of a question it is faster than numpy, whose calls cost
more than what there is to sum, and a fraction of the search (docs/benchmarks/estimate.md).


From a state to what can be expected of each action.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

from app.auth import caller
from app.auth.limits import AgentAdmission
from app.contract.requests import EpisodicEstimate
from app.memory.novelty import Novelty
from app.memory.questions import episodic_question
from app.metrics import measuring
from app.model import Answer, EpisodicQuestion
from app.read_path.stage import Recall
from app.vectors import VectorFormat, require_fit

KernelName = Literal["inverse", "rbf"]

HALF_TRUST_N = 10.0
"""As many neighbours that weigh the same are trusted by half."""

SAFE_EXPONENTS = (-300, 300)
"""Of two: the squares of rewards up to there neither vanish nor pass the largest float."""

ROUNDING = 1e-12
"""What a sum of a thousand weights may lose, as a share of it, and more."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A memory's weight by its cosine distance d: 1/(d + delta), or exp(-d/bandwidth^2)."""

    name: KernelName
    delta: float
    bandwidth: float

    def weights(self, distances: Sequence[float]) -> list[float]:
        """Weights of these memories, up to a common factor, which no statistic depends on."""
        if self.name == "inverse":
            return [1.0 / (distance + self.delta) for distance in distances]
        # The nearest one weighs 1: however narrow the kernel, they do not all vanish.
        nearest, square = min(distances), self.bandwidth**2
        return [math.exp((nearest - distance) / square) for distance in distances]


@dataclass(slots=True)
class Neighbour:
    """A memory that was found: what was done, what came of it and how far it is.

    Never changed; not frozen, for that doubles the time to make them, up to a thousand an answer.
    """

    action: str | None
    reward: float
    distance: float


@dataclass(frozen=True, slots=True)
class ActionValue:
    """What came of one action. The names are those of the answer."""

    action: str | None
    count: int
    value: float
    stdev: float
    q05: float
    q50: float
    q95: float
    win_rate: float
    loss_probability: float
    effective_n: float
    nearest_distance: float


def estimate_actions(
    neighbours: Sequence[Neighbour], kernel: Kernel, *, stop_loss: float
) -> list[ActionValue]:
    """One estimate for each action, the highest value first; equal ones by name, no name last."""
    by_action: dict[str | None, list[Neighbour]] = {}
    for neighbour in neighbours:
        by_action.setdefault(neighbour.action, []).append(neighbour)
    found = [_estimate(action, own, kernel, stop_loss) for action, own in by_action.items()]
    return sorted(found, key=lambda e: (-e.value, e.action is None, e.action or ""))


def effective_n(weights: Sequence[float]) -> float:
    """Return as how many memories that weigh the same these count; 0 for none."""
    if not weights:
        return 0.0
    total, squares = math.fsum(weights), math.fsum(weight * weight for weight in weights)
    return min(max(total * total / squares, 1.0), float(len(weights)))


def confidence(neighbours: Sequence[Neighbour], kernel: Kernel, *, novelty: float) -> float:
    """0 (nothing is known) to 1: many near memories, in a state like those that are known."""
    if not neighbours:
        return 0.0
    support = effective_n(kernel.weights([n.distance for n in neighbours]))
    return (1.0 - novelty) * support / (support + HALF_TRUST_N)


def _estimate(
    action: str | None, neighbours: Sequence[Neighbour], kernel: Kernel, stop_loss: float
) -> ActionValue:
    weights = kernel.weights([neighbour.distance for neighbour in neighbours])
    weighted = sorted(zip((n.reward for n in neighbours), weights, strict=True))
    total = math.fsum(weights)
    value, stdev = _moments(weighted, total)
    q05, q50, q95 = _quantiles(weighted, total)
    return ActionValue(
        action=action,
        count=len(neighbours),
        value=value,
        stdev=stdev,
        q05=q05,
        q50=q50,
        q95=q95,
        # Sums rounded once: a part is never more than the whole, and all of it is the whole.
        win_rate=math.fsum(weight for reward, weight in weighted if reward > 0) / total,
        loss_probability=math.fsum(w for reward, w in weighted if reward < -stop_loss) / total,
        effective_n=effective_n(weights),
        nearest_distance=min(neighbour.distance for neighbour in neighbours),
    )


def _moments(weighted: Sequence[tuple[float, float]], total: float) -> tuple[float, float]:
    """Return mean and standard deviation of rewards with their weights, in order of reward.

    Two passes, the second about the mean of the first (Chan, Golub, LeVeque 1983): exact to the
    last digits for rewards that are alike, and for rewards whose squares no float can hold.
    """
    least, largest = weighted[0][0], weighted[-1][0]
    if least == largest:
        return least, 0.0
    exponent = math.frexp(max(-least, largest))[1]
    if not SAFE_EXPONENTS[0] < exponent < SAFE_EXPONENTS[1]:
        # A power of two takes no digit away.
        scaled = [(math.ldexp(reward, -exponent), weight) for reward, weight in weighted]
        mean, stdev = _moments(scaled, total)
        return math.ldexp(mean, exponent), math.ldexp(stdev, exponent)
    first = math.fsum(reward * weight for reward, weight in weighted) / total
    residue = math.fsum(weight * (reward - first) for reward, weight in weighted) / total
    spread = math.fsum(weight * (reward - first) ** 2 for reward, weight in weighted) / total
    mean = min(max(first + residue, least), largest)
    stdev = math.sqrt(max(0.0, spread - residue * residue))
    return mean, min(stdev, largest / 2 - least / 2)


def _quantiles(weighted: Sequence[tuple[float, float]], total: float) -> list[float]:
    """The smallest rewards up to which 5, 50 and 95 % of the weight lie. `weighted`: by reward."""
    found: list[float] = []
    # A share that the weights reach exactly may be missed by the last digit of their sum.
    wanted = [share * total - ROUNDING * total for share in (0.05, 0.5, 0.95)]
    reached = 0.0
    for reward, weight in weighted:
        reached += weight
        while len(found) < len(wanted) and reached >= wanted[len(found)]:
            found.append(reward)
    return found


@dataclass(frozen=True, slots=True)
class Estimate:
    """What to expect. `answer` is that of the search underneath; `memories` the ids it used."""

    actions: Sequence[ActionValue]
    novelty: float
    confidence: float
    memories: Sequence[str]
    answer: Answer


class EstimateOperations:
    """Estimates out of searches. `now` gives unix seconds."""

    def __init__(
        self,
        *,
        recall: Recall,
        novelty: Novelty,
        stored_as: VectorFormat,
        shared_max_age_days: float,
        now: Callable[[], float],
        admit: AgentAdmission,
    ) -> None:
        self._admit = admit
        self._recall = recall
        self._novelty = novelty
        self._stored_as = stored_as
        self._shared_max_age_days = shared_max_age_days
        self._now = now

    async def estimate(self, request: EpisodicEstimate) -> Estimate:
        """What came of each action among the nearest closed memories.

        Raises InvalidInput, AgentForbidden, ScopeForbidden, StorageError, Overloaded.
        """
        await self._admit(request.agent_id)
        caller.require_scope(request.scope)
        caller.require_top_k(request.top_k)
        require_fit(request.state_vector, self._stored_as, "state_vector")
        kernel = Kernel(request.kernel, delta=request.delta, bandwidth=request.bandwidth)
        with measuring("estimate", request.agent_id):
            question = episodic_question(
                request, shared_max_age_days=self._shared_max_age_days, now=self._now()
            )
            answer, records = await self._closed(replace(question, include_vectors=False))
            neighbours = [
                Neighbour(record["action"], record["reward"], hit.distance)
                for record, hit in zip(records, answer.hits, strict=True)
            ]
            nearest = min((n.distance for n in neighbours), default=None)
            novelty = await self._novelty.of(question, nearest)
            return Estimate(
                actions=estimate_actions(neighbours, kernel, stop_loss=request.stop_loss),
                novelty=novelty,
                confidence=confidence(neighbours, kernel, novelty=novelty),
                memories=[record["id"] for record in records],
                answer=answer,
            )

    async def _closed(self, question: EpisodicQuestion) -> tuple[Answer, list[dict[str, Any]]]:
        """The nearest memories that have a reward, and their records.

        Asked without that condition first, which doubles the search's time and is rarely needed.
        """
        answer = await self._recall.recall(question)
        records = [orjson.loads(hit.record) for hit in answer.hits]
        if any(record["reward"] is None for record in records):
            closed = replace(question, filter=replace(question.filter, closed=True))
            answer = await self._recall.recall(closed)
            records = [orjson.loads(hit.record) for hit in answer.hits]
        return answer, records
