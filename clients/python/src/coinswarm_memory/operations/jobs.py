"""Operations on work that a caller asked for and waits for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from coinswarm_memory.answers.jobs import AskedJob
from coinswarm_memory.operations.request import Operation, Reply, Request, escaped, post

J = TypeVar("J", bound=AskedJob)


@dataclass(frozen=True, slots=True)
class Jobs(Generic[J]):
    """One kind of job: its path, what people call it, and how it is read."""

    path: str
    called: str
    read: Callable[[Reply], J]

    def start(self, wanted: Mapping[str, Any]) -> Operation[J]:
        """Start a job. Repeating starts another one."""
        return Operation(post(self.path, wanted), self.read, repeatable=False)

    def find(self, name: str, as_of: float | None = None) -> Operation[J]:
        """Ask for a job's progress or result."""
        asked = "" if as_of is None else f"?{urlencode({'as_of': as_of})}"
        return Operation(Request("GET", f"{self.path}/{escaped(name)}{asked}"), self.read)

    def delete(self, name: str) -> Operation[None]:
        """Cancel a job, or delete its result."""
        request = Request("DELETE", f"{self.path}/{escaped(name)}")
        return Operation(request, lambda _: None, gone_is_done=True)
