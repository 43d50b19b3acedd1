"""How much is run: the whole plan, or the quick one."""

from dataclasses import dataclass, field, replace

from bench.bodies import VectorForm
from bench.data import DataKind

LEVELS = (1, 5, 10, 20, 50, 100)


@dataclass(frozen=True, slots=True)
class Variant:
    """A configuration of the service: `MEMORY_` settings beside the defaults."""

    name: str
    settings: dict[str, str] = field(default_factory=dict)


DEFAULT_VARIANTS = (
    Variant("one node", {}),
    Variant("2 replicas", {"MEMORY_EMBEDDED_REPLICAS": "2"}),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Numbers of memories, queries and agents; `time_scale` and `trading_minutes` are phase 3's."""

    name: str
    variants: tuple[Variant, ...]
    time_scale: float
    seed: int
    vectors: VectorForm
    phases: tuple[int, ...] = (1, 2, 3)
    phase1_data: tuple[DataKind, ...] = ("random", "market")
    phase2_data: tuple[DataKind, ...] = ("random", "market")
    phase1_memories: int = 10_000
    phase1_queries: int = 1_000
    phase2_memories: int = 1_000
    phase2_levels: tuple[int, ...] = LEVELS
    phase2_queries_each: int = 100
    phase2_queries_least: int = 2_000
    phase3_memories: int = 2_000
    trading_agents: int = 10
    trading_minutes: float = 60.0
    calibration_levels: tuple[int, ...] = (1, 10, 50)
    dimension: int = 256

    def queries_each(self, agents: int) -> int:
        """Measured queries of each agent of phase 2: enough for a 99th percentile of the level."""
        return max(self.phase2_queries_each, -(-self.phase2_queries_least // agents))


def quick_plan(full: Plan) -> Plan:
    """Return a plan of five minutes on two cores: fewer queries, a third of the trading hour."""
    return replace(
        full,
        name="quick",
        phase2_data=("random",),
        phase2_queries_each=30,
        phase2_queries_least=1_000,
        trading_minutes=15.0,
    )
