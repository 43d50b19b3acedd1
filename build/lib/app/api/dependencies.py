"""What the lifespan hands to the routes."""

from dataclasses import dataclass
from typing import Annotated, TypedDict, cast

from fastapi import Depends, Header, Query, Request

from app.durability import Durability, require
from app.fields import AsOf
from app.memory.consolidation import ConsolidationOperations
from app.memory.episodic import EpisodicOperations
from app.memory.episodic_query import EpisodicQueryOperations
from app.memory.estimation import EstimateOperations
from app.memory.health import HealthOperations
from app.memory.outcome import OutcomeOperations
from app.memory.rating import RatingOperations
from app.memory.retention import RetentionOperations
from app.memory.sampling import SampleOperations
from app.memory.semantic import SemanticOperations
from app.memory.semantic_query import SemanticQueryOperations
from app.memory.stats import StatsOperations
from app.storage.slowlog import SlowLog


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a route may call."""

    episodic: EpisodicOperations
    episodic_query: EpisodicQueryOperations
    estimate: EstimateOperations
    sample: SampleOperations
    rating: RatingOperations
    outcome: OutcomeOperations
    semantic: SemanticOperations
    semantic_query: SemanticQueryOperations
    slow_log: SlowLog
    retention: RetentionOperations
    consolidation: ConsolidationOperations
    health: HealthOperations
    stats: StatsOperations
    durability: Durability


class State(TypedDict):
    """The lifespan's state, as Starlette carries it to each request."""

    services: Services


def services_of(request: Request) -> Services:
    """The services of this process."""
    return cast("Services", request.scope["state"]["services"])


async def _services(request: Request) -> Services:
    # async: FastAPI would call a plain function in a thread, for each request.
    return services_of(request)


async def _durability(
    request: Request,
    level: Annotated[
        Durability | None,
        Header(
            alias="X-Durability",
            description="How safe the write must be before it is confirmed: memory, replicated or "
            "fsynced. Unset: as the service's settings say. The answer says what was reached; a "
            "level that was not is an error, and repeating the same request is safe.",
        ),
    ] = None,
) -> Durability:
    chosen = level or services_of(request).durability
    require(chosen)
    return chosen


ServicesDep = Annotated[Services, Depends(_services)]
DurabilityDep = Annotated[Durability, Depends(_durability)]
AsOfQuery = Annotated[AsOf | None, Query()]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Makes a repeated store safe when the body has no `id`.",
    ),
]
