"""The token of a write: which data set, and how far along it, a node must be to show it.

The replication id and offset "identify an exact version of the dataset":
https://redis.io/docs/latest/operate/oss_and_stack/management/replication/
"""

import re

import redis.exceptions as foreign

INFO_COMMAND = (b"INFO", "replication")
"""As bytes, redis-py hands the reply out as it came: its parser takes four times as long."""

_ID = re.compile(rb"^master_replid:(\w+)", re.MULTILINE)
_OFFSET = re.compile(rb"^master_repl_offset:(\d+)", re.MULTILINE)


def is_replica(info: object) -> bool:
    """Whether the node that gave this reply to INFO_COMMAND is no master."""
    return isinstance(info, bytes) and b"role:slave" in info


def token_of(info: object) -> str:
    """`<replication id>:<offset>` of a master, from its reply to INFO_COMMAND."""
    text = info if isinstance(info, bytes) else b""
    replication_id, offset = _ID.search(text), _OFFSET.search(text)
    if replication_id is None or offset is None:
        raise foreign.InvalidResponse("INFO replication lacks master_replid")
    return f"{replication_id[1].decode()}:{offset[1].decode()}"
