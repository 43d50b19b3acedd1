"""Starts a redis-server in its current role, which others may have changed.

A program of its own, run at each start as `python -I -S rejoin.py FOLDER CONF HOST:PORT SENTINELS
MASTER COMMAND...`. MASTER is the Sentinels' name for the master. REDISCLI_AUTH in the environment
is the password of Sentinels and nodes.

It prevents three ways of losing data:

A master that died may have been replaced meanwhile. Sentinel could not rewrite its configuration
while it was dead, so it would come back as a second master. Therefore the Sentinels are asked
first.

A master that comes back before anybody missed it makes every replica follow it again, however
little data it still has: its append-only file may lack up to two seconds of confirmed writes, and
an empty disk would empty them all. So it waits to be replaced while a replica is alive that
followed it to the end. If nobody answers, as at the first start, it starts as it is.

A replica that was just started has only what its file has. Until it has caught up, Sentinels are
kept from promoting it.
"""

import contextlib
import os
import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

TIMEOUT_S = 0.5
POLL_INTERVAL_S = 0.1
WAIT_S = 30.0
"""How long to wait to be replaced before starting with the node's own data.

Sentinels retry a failed failover every few seconds, so after this long they must be missing. A node
without any data waits forever.
"""
PRIORITY, LAST_PRIORITY, NEVER = 100, 200, 0
"""replica-priority: Redis's default; the value of a last resort; and the value that forbids
promotion."""

Address = tuple[str, int]


class View(NamedTuple):
    """The master and its replicas, as others see them."""

    master: Address
    replicas: list[Address]


def ask(address: Address, *commands: str) -> list[Any]:
    """Send commands of one line each to a server. Return its replies. Raise OSError."""
    password = os.environ.get("REDISCLI_AUTH")
    words = [f"AUTH {password}"] * bool(password) + list(commands)
    with socket.create_connection(address, TIMEOUT_S) as server:
        server.sendall("".join(f"{word}\r\n" for word in words).encode())
        with server.makefile("rb") as replies:
            return [_reply(replies) for _ in words][-len(commands) :]


def _reply(stream: BinaryIO) -> Any:
    """Read one reply of Redis's protocol. Returns None for an error.

    https://redis.io/docs/latest/develop/reference/protocol-spec/
    """
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("the server went away")
    kind, rest = line[:1], line[1:-2]
    if kind == b"*":
        return [_reply(stream) for _ in range(int(rest))] if int(rest) >= 0 else None
    if kind == b"$":
        return stream.read(int(rest) + 2)[:-2].decode() if int(rest) >= 0 else None
    return None if kind == b"-" else rest.decode()


def seen_by_sentinels(sentinels: list[Address], name: str) -> View | None:
    """Return the view of most of the Sentinels that answer. None if none of them knows a master."""
    views = []
    for sentinel in sentinels:
        with contextlib.suppress(OSError):
            master, replicas = ask(
                sentinel,
                f"SENTINEL GET-MASTER-ADDR-BY-NAME {name}",
                f"SENTINEL REPLICAS {name}",
            )
            if master:
                known = [dict(zip(one[::2], one[1::2], strict=True)) for one in replicas or ()]
                addresses = [(one["ip"], int(one["port"])) for one in known]
                views.append(View((master[0], int(master[1])), addresses))
    masters = [view.master for view in views]
    return max(views, key=lambda view: masters.count(view.master), default=None)


def has_caught_up(info: str) -> bool:
    """Return whether a node, by its INFO, has all of its master's data, or has become master.

    The link is up, or was up since the node started. A value of -1 means that it never was, so the
    node has only what its file has.
    """
    pattern = r"^(role:master|master_link_status:up|master_link_down_since_seconds:\d+)\r?$"
    return re.search(pattern, info, re.MULTILINE) is not None


def can_replace(replica: Address, *, has_own_data: bool) -> bool:
    """Return whether a node has more data than one without its last writes, or is master."""
    try:
        info, count = ask(replica, "INFO replication", "DBSIZE")
    except OSError:
        return False
    return has_caught_up(info or "") or (not has_own_data and int(count or 0) > 0)


def wait_for_role(
    own: Address, look: Callable[[], View | None], *, has_own_data: bool
) -> View | None:
    """Wait until this node may start. Return the others' view. None if nobody answers."""
    began_at = time.monotonic()
    has_said = False
    while True:
        view = look()
        if view is None or view.master != own:
            return view
        if not any(can_replace(one, has_own_data=has_own_data) for one in view.replicas):
            return view
        if has_own_data and time.monotonic() - began_at > WAIT_S:
            _say("nobody replaced this master: it starts with its own data")
            return view
        if not has_said:
            lacks = "may lack its last writes" if has_own_data else "has lost its data"
            _say(f"this master {lacks}: it waits until a replica replaces it")
            has_said = True
        time.sleep(POLL_INTERVAL_S)


def _say(what: str) -> None:
    sys.stderr.write(f"{os.getpid()}:J {time.strftime('%d %b %Y %H:%M:%S')} # {what}\n")


def set_role(conf: Path, own: Address, master: Address | None) -> bool:
    """Point the configuration at `master` (None: keep it).

    Return True if the node is now a replica, which must not be promoted yet.
    """
    lines = [line for line in conf.read_text().splitlines() if line]
    lines = [line for line in lines if not line.startswith("replica-priority ")]
    if master is not None:
        lines = [line for line in lines if not line.startswith("replicaof ")]
        if master != own:
            lines.append(f"replicaof {master[0]} {master[1]}")
    is_replica = any(line.startswith("replicaof ") for line in lines)
    if is_replica:
        lines.append(f"replica-priority {NEVER}")
    new = conf.with_suffix(".new")
    new.write_text("\n".join([*lines, ""]))
    new.replace(conf)
    return is_replica


def allow_promotion_later(own: Address) -> None:
    """Fork a detached process that allows the server's promotion later."""
    server = os.getpid()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    if os.fork() == 0:
        with contextlib.suppress(ProcessLookupError):
            _until_it_may_be_promoted(server, own)
    os._exit(0)


def _until_it_may_be_promoted(server: int, own: Address) -> None:
    """Allow promotion once the node has caught up, or, if no master appears for long, with its own
    data.

    Raise ProcessLookupError when the server has ended.
    """
    began_at = time.monotonic()
    while True:
        time.sleep(POLL_INTERVAL_S)
        os.kill(server, 0)
        is_late = time.monotonic() - began_at > WAIT_S
        with contextlib.suppress(OSError):
            info, count = ask(own, "INFO replication", "DBSIZE")
            is_whole = has_caught_up(info or "")
            if is_whole or (is_late and int(count or 0)):
                ask(
                    own,
                    f"CONFIG SET replica-priority {PRIORITY if is_whole else LAST_PRIORITY}",
                )
            if is_whole:
                return


def _addresses(text: str) -> list[Address]:
    pairs = (one.rpartition(":") for one in text.split(",") if one)
    return [(host, int(port)) for host, _, port in pairs]


def main() -> None:
    """Wait for the role, set it, then become the server."""
    folder, conf = Path(sys.argv[1]), Path(sys.argv[2])
    (own,), sentinels, name = _addresses(sys.argv[3]), _addresses(sys.argv[4]), sys.argv[5]
    command = sys.argv[6:]
    has_own_data = any((folder / "appendonlydir").glob("*.manifest"))
    view = wait_for_role(own, lambda: seen_by_sentinels(sentinels, name), has_own_data=has_own_data)
    if set_role(conf, own, None if view is None else view.master):
        allow_promotion_later(own)
    os.execv(command[0], command)  # noqa: S606 - the arguments are this package's own


if __name__ == "__main__":
    main()
