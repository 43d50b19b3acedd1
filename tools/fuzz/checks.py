"""What Schemathesis checks beside its own checks. It imports this file by itself."""

from typing import Any

import schemathesis

SERVER_ERROR = 500
DEADLINE_EXCEEDED = 504
RIGHT_CODES = {"durability_not_reached", "overloaded"}
"""The right answers where a write outlasts a deadline of a millisecond, or a busy disk's time, and
where evaluations that outlasted theirs have not ended yet."""


@schemathesis.check
def no_fault_of_the_service(ctx: Any, response: Any, case: Any) -> None:
    """Fail for a server error, but not for a deadline that was too short."""
    status = response.status_code
    if status < SERVER_ERROR or status == DEADLINE_EXCEEDED:
        return
    if response.json().get("code") not in RIGHT_CODES:
        raise AssertionError(f"status {status}: {response.text}")
