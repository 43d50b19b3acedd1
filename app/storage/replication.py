"""The token of a write: which data set, and how far along it, a node must be to show it.

The replication id and offset "identify an exact version of the dataset":
https://redis.io/docs/latest/operate/oss_and_stack/management/replication/
"""

import redis.exceptions as foreign

INFO_COMMAND = ("INFO", "replication")


def token_of(info: object) -> str:
    """`<replication id>:<offset>` of a master, from its reply to INFO_COMMAND."""
    fields = info if isinstance(info, dict) else {}
    try:
        return f"{fields['master_replid']}:{fields['master_repl_offset']}"
    except KeyError as error:
        raise foreign.InvalidResponse("INFO replication lacks master_replid") from error
