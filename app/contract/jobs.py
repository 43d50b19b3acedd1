"""The public JSON contract of jobs that somebody asked for."""

from typing import Any, Literal

from pydantic import BaseModel, Field, computed_field

JobStatus = Literal["queued", "running", "done", "failed", "cancelled"]


class AskedJob(BaseModel):
    """Work that somebody asked for and waits for: how far it is."""

    id: str = Field(description="Ask with it for the progress or the result.")
    agent_id: str
    status: JobStatus = Field(
        description="cancelled: nobody asked for it for two minutes, or the service stopped."
    )
    done: int = Field(description="Steps done so far: questions asked, or vectors read.")
    total: int = Field(description="Steps to do; 0: not known yet.")
    created_at: float = Field(description="Unix seconds.")
    request: dict[str, Any] = Field(description="What was asked for.")
    problem: dict[str, Any] | None = Field(None, description="Why it failed.")

    @computed_field(description="How far it is, 0 to 1.")  # type: ignore[prop-decorator]
    @property
    def progress(self) -> float:
        """Return the share of the steps that are done."""
        return self.done / self.total if self.total else float(self.status == "done")
