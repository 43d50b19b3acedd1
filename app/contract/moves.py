"""The public JSON of agents' moves between groups."""

from typing import Literal

from pydantic import BaseModel, Field

from app.contract.fields import Request


class AgentMove(Request):
    """Where an agent shall move."""

    group: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="The group to move to; unset: the one with the fewest agents for its weight.",
    )


class AgentMoved(BaseModel):
    """An agent's latest move between groups."""

    agent_id: str = Field(description="The agent.")
    status: Literal["queued", "copying", "switching", "cleaning", "done", "failed"] = Field(
        description="queued, copying and switching: the agent is where it was. cleaning: it has "
        "moved, and its former copy is being removed."
    )
    progress: float = Field(description="0 to 1.")
    from_group: str = Field(description="The group that the agent leaves.")
    to_group: str = Field(description="The group that it moves to.")
    detail: str | None = Field(description="Why the last attempt stopped; it is tried again.")
