"""Starts a redis-server that Sentinels watch, in the role that it has by now.

A program of its own, run as `python -I -S rejoin.py CONF PORT SENTINEL_PORTS COMMAND...` at each
start: a master that died was perhaps replaced meanwhile, and its configuration, which Sentinel
could not rewrite while it was dead, would have it come back as a second master. So the Sentinels
are asked first. While none answers, as at the first start of all, the configuration stands.
"""

import contextlib
import os
import socket
import sys
from pathlib import Path

LOOPBACK = "127.0.0.1"
MASTER_NAME = "coinswarm"
TIMEOUT_S = 0.5


def master_port(sentinel_ports: list[int]) -> int | None:
    """Whom the first Sentinel that answers calls the master."""
    question = f"SENTINEL GET-MASTER-ADDR-BY-NAME {MASTER_NAME}\r\n".encode()
    for port in sentinel_ports:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((LOOPBACK, port), TIMEOUT_S) as sentinel,
        ):
            sentinel.sendall(question)
            answer = b""
            while answer.count(b"\r\n") < 5 and not answer.startswith((b"*-1", b"-")):
                part = sentinel.recv(1024)
                if not part:
                    break
                answer += part
            lines = answer.split(b"\r\n")
            if len(lines) > 4 and lines[4].isdigit():
                return int(lines[4])
    return None


def set_master(conf: Path, port: int) -> None:
    """Have this configuration follow the node at this port."""
    lines = conf.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("replicaof ")]
    new = conf.with_suffix(".new")
    new.write_text("\n".join([*kept, f"replicaof {LOOPBACK} {port}", ""]))
    new.replace(conf)


def main() -> None:
    """Set the role, then become the server."""
    conf, own_port, sentinels = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    port = master_port([int(text) for text in sentinels.split(",")])
    if port is not None and port != own_port:
        set_master(conf, port)
    os.execv(sys.argv[4], sys.argv[4:])  # noqa: S606 - the arguments are this package's own


if __name__ == "__main__":
    main()
