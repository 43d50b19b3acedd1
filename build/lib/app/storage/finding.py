"""One thing that a check found out."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is so, and for a problem how to mend it. `part` names what was looked at."""

    verdict: Verdict
    part: str
    sentence: str
