"""What a forked process must not go on using: its parent's connections, locks and copies.

Threads do not survive a fork. What they were doing at that moment stays half done in the child.
"""

import os
import weakref
from typing import Protocol


class Inherited(Protocol):
    """A part of a client that a fork copies."""

    def after_fork(self) -> None:
        """Begin again in the child process."""


_inherited: "weakref.WeakSet[Inherited]" = weakref.WeakSet()


def renew_after_fork(part: Inherited) -> None:
    """Call the part's `after_fork` in each child process that is forked while the part lives."""
    _inherited.add(part)


def _renew() -> None:
    for part in list(_inherited):
        part.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_renew)
