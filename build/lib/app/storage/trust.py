"""For how long a master is trusted, and a new one gets no write from here.

Services learn of a promotion one after the other. So a service trusts a master only while most of
those who know the roles stood by it lately, and holds its writes to a new one until nobody can
trust the old one any more.
"""

import math
import time
from collections.abc import Callable

from app.storage.redis_node import RedisNode

SURE_FOR_S = 1.0
"""How long the word of most Sentinels counts. A cut network, or a pause of this process, may hide
that a replica was promoted; that takes longer: the time of silence (down-after-milliseconds, a
second or more) and a vote."""
HELD_FOR_S = SURE_FOR_S + 0.1
"""How long a new master gets no write from here after most were heard to name it. Whoever asks
them later finds no majority for the old one; whoever asked before is sure of that for SURE_FOR_S
at most, and looks at the clock after its question came. So no question asked after a write on the
new master was confirmed is answered from the old one. (A call that is under way then was asked
before.) The tenth is for clocks that do not run alike."""
HELD_AT_MOST_S = 5.0
"""How long while fewer than most name it. Sentinels tell each other every 2 s."""


class WriteHold:
    """Holds writes to a shard's master while that is new."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until_s = -math.inf

    def look(self, master: RedisNode, *, is_new: bool, has_majority: bool) -> None:
        """Whether it has just become the master, and whether most name it now."""
        now_s = self._clock()
        if is_new:
            self._until_s = now_s + HELD_AT_MOST_S
            master.hold_writes(self._until_s)
        if has_majority and now_s < self._until_s:
            self._until_s = -math.inf
            master.hold_writes(now_s + HELD_FOR_S)
