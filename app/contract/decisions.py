"""The public JSON contract of decisions, and of what the memory adds to them."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from app.context import Durability
from app.contract.evaluation import VerdictName
from app.contract.fields import AgentId, Request, Tag
from app.model import ArmName

MAX_REWARD = 1e100
"""The summed squares of larger ones may exceed the largest float."""

RecallIdText = Annotated[
    str, Field(min_length=1, max_length=128, description="The `recall_id` that an answer carried.")
]


class Decide(Request):
    """What an agent does after a recall. The outcome is posted later, to the decision."""

    recall_id: RecallIdText
    action: Tag = Field(description="What the agent does, including doing nothing.")
    arm: ArmName | None = Field(
        None, description="The `arm` of the answer; if given, it is checked against the recall's."
    )
    product_id: Tag | None = Field(None, description="Count it by this product, too.")
    regime: Tag | None = Field(None, description="Count it by this regime, too.")
    agent_id: AgentId | None = Field(
        None, description="The agent of the recall; needed only if its name has more than 60 bytes."
    )


class DecisionOutcome(Request):
    """The outcome of a decision."""

    reward: float = Field(ge=-MAX_REWARD, le=MAX_REWARD, allow_inf_nan=False)
    agent_id: AgentId | None = Field(
        None,
        description=("The agent of the decision; needed only if its name has more than 60 bytes."),
    )


class Decision(BaseModel):
    """A decision that is open."""

    recall_id: str = Field(description="The recall that the decision follows.")
    agent_id: str
    arm: ArmName = Field(description="How the recall was answered.")
    action: str
    created: bool = Field(description="False: it was posted before.")
    counts: bool = Field(
        description=(
            "False: another decision counts, after a recall of the same state within the "
            "same minute."
        )
    )
    durability: Durability = Field(description="The durability that the write reached.")


class DecisionClosed(BaseModel):
    """A decision whose outcome is known."""

    recall_id: str = Field(description="The recall that the decision follows.")
    agent_id: str
    changed: bool = Field(description="False: this outcome was posted before.")
    durability: Durability = Field(description="The durability that the write reached.")


class ArmFigures(BaseModel):
    """The closed decisions of one arm."""

    arm: ArmName = Field(description="How the recalls of these decisions were answered.")
    closed: int = Field(description="Decisions with an outcome.")
    expected: float = Field(
        description="How many of all closed decisions the arm's share would give. A large gap "
        "means that one arm's decisions are posted or closed less often: then no figure here is "
        "fair."
    )
    mean_reward: float | None = Field(description="Their mean reward; null without any.")


class Comparison(BaseModel):
    """The memory against another arm."""

    against: Literal["no_memory", "placebo"] = Field(description="The other arm.")
    decisions: int = Field(
        description="Closed decisions of both arms that were compared: those that came after the "
        "first 20 of each."
    )
    uplift: float | None = Field(
        description=(
            "How much more reward a decision earns with the memory; null until 100 "
            "decisions of each arm are closed."
        )
    )
    low: float | None = Field(
        description=(
            "The lower end of an interval that contains the uplift, at all times at once, "
            "with probability `level`: look as often as you like, and stop when you like."
        )
    )
    high: float | None = Field(description="Its upper end.")
    verdict: VerdictName = Field(
        description="helps: the interval is above 0. harms: it is below 0. unproven: neither."
    )


class UpliftFigures(BaseModel):
    """Decisions of one slice: all of them, or those of one product or regime."""

    arms: list[ArmFigures] = Field(description="The memory, no memory and the placebo.")
    comparisons: list[Comparison] = Field(description="The memory against each other arm.")


class NamedUplift(UpliftFigures):
    """The decisions of one product or regime."""

    name: str


class Uplift(UpliftFigures):
    """What the memory adds to an agent's decisions. Each interval's level holds for itself
    alone."""

    agent_id: str
    level: float = Field(description="The probability that an interval contains the uplift.")
    method: Literal["asymptotic_confidence_sequence"] = Field(
        description=(
            "The method: augmented inverse-probability-weighted differences (Waudby-Smith, "
            "Arbour, Sinha, Kennedy, Ramdas 2024)."
        )
    )
    products: list[NamedUplift] = Field(description="By product, the first 100 products.")
    regimes: list[NamedUplift] = Field(description="By regime, the first 100 regimes.")


class AgentUplift(UpliftFigures):
    """All decisions of one agent."""

    agent_id: str


class UpliftPage(BaseModel):
    """One page of the agents that have closed decisions, by name."""

    agents: list[AgentUplift]
    level: float = Field(description="The probability that each interval contains the uplift.")
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page.")
    partial: bool = Field(description="True if the agents of some groups are missing.")
    unanswered_groups: list[str] = Field(description="The groups that did not answer.")
