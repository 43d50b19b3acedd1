"""Each part in a network namespace of its own, on a bridge that only they are plugged into.

Needs root and `ip` (Debian's iproute2). Nothing leaves the machine: no namespace has a way out.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from tools.crash.network import Network

CLONE_NEWNET = 0x40000000
NOWHERE = "02:00:00:00:00:01"
"""No part has this hardware address, so what is sent to it is silently lost, as behind a cut cable,
and not refused."""


def are_permitted() -> bool:
    """Return whether this user may make namespaces here."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    name = f"try{os.getpid()}"
    made = subprocess.run(("ip", "netns", "add", name), capture_output=True, check=False)
    subprocess.run(("ip", "netns", "del", name), capture_output=True, check=False)
    return made.returncode == 0


@contextmanager
def namespaces(names: Sequence[str]) -> Iterator["Namespaces"]:
    """Make them and move this process, which must have one thread, to the bridge's own."""
    prefix = f"crash{os.getpid()}"
    hub = f"{prefix}-hub"
    hosts = {name: f"10.213.0.{number}" for number, name in enumerate(names, 2)}
    spaces = {name: f"{prefix}-{number}" for number, name in enumerate(names, 2)}
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        _ip("netns", "add", hub)
        _ip("-n", hub, "link", "set", "lo", "up")
        _ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", hub, "address", "add", "10.213.0.1/24", "dev", "bridge")
        _ip("-n", hub, "link", "set", "bridge", "up")
        for number, name in enumerate(names, 2):
            _plug_in(hub, spaces[name], f"port{number}", hosts[name])
        _enter(Path("/var/run/netns") / hub)
        yield Namespaces(hosts, spaces)
    finally:
        _enter(Path(f"/proc/self/fd/{home}"))
        os.close(home)
        for space in (hub, *spaces.values()):
            subprocess.run(("ip", "netns", "del", space), capture_output=True, check=False)


class Namespaces(Network):
    """`hosts` and `spaces` by a part's name: its address, and its namespace."""

    def __init__(self, hosts: dict[str, str], spaces: dict[str, str]) -> None:
        self._hosts = hosts
        self._spaces = spaces
        self._cut: list[tuple[str, str]] = []

    def host_of(self, name: str) -> str:
        """Return the address of a part."""
        return self._hosts[name]

    def runner_of(self, name: str) -> tuple[str, ...]:
        """`ip netns exec NAMESPACE`."""
        return ("ip", "netns", "exec", self._spaces[name])

    def cut(self, side: list[str], other: list[str]) -> None:
        """Silently drop everything between two sides."""
        pairs = [*product(side, other), *product(other, side)]
        for here, there in pairs:
            self._neighbour(here, there, "replace", "lladdr", NOWHERE, "nud", "permanent")
        self._cut += pairs

    def heal(self) -> None:
        """Undo every cut."""
        while self._cut:
            here, there = self._cut.pop()
            self._neighbour(here, there, "del")

    def _neighbour(self, here: str, there: str, what: str, *words: str) -> None:
        _ip("-n", self._spaces[here], "neigh", what, self._hosts[there], "dev", "eth0", *words)


def _plug_in(hub: str, space: str, port: str, host: str) -> None:
    _ip("netns", "add", space)
    _ip("-n", space, "link", "set", "lo", "up")
    peer = ("peer", "name", port, "netns", hub)
    _ip("-n", space, "link", "add", "eth0", "type", "veth", *peer)
    _ip("-n", space, "address", "add", f"{host}/24", "dev", "eth0")
    _ip("-n", space, "link", "set", "eth0", "up")
    _ip("-n", hub, "link", "set", port, "master", "bridge", "up")


def _ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True)


def _enter(path: Path) -> None:
    """Move this thread, and those that it will start, to a namespace."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    finally:
        os.close(descriptor)
