"""Operations on the change feed of an agent's memory."""

from urllib.parse import urlencode

from coinswarm_memory.operations.request import ARROW, Operation, Request, escaped
from coinswarm_memory.replica.rows import Changes, SnapshotPage, read_changes, read_page


def snapshot(agent_id: str, cursor: str | None, limit: int) -> Operation[SnapshotPage]:
    """Read a page of all memories; without a cursor, the first."""
    asked: dict[str, str | int] = {"limit": limit}
    if cursor is not None:
        asked["cursor"] = cursor
    path = f"/v1/episodic/{escaped(agent_id)}/snapshot?{urlencode(asked)}"
    return Operation(Request("GET", path, accept=ARROW), read_page)


def changes(agent_id: str, after: str | None, limit: int, wait_s: float) -> Operation[Changes]:
    """Read what changed after a position, or from now on, waiting a while when nothing did."""
    asked: dict[str, str | int | float] = {} if after is None else {"after": after}
    asked |= {
        "limit": limit,
        "wait_s": round(wait_s, 3),
        "encoding_format": "base64",
    }
    path = f"/v1/episodic/{escaped(agent_id)}/changes?{urlencode(asked)}"
    return Operation(Request("GET", path), read_changes)
