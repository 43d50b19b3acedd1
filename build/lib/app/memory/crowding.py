"""How much the swarm leans on the same few memories of each other.

The latest answers to questions across agents are kept, their nearest hits only; from time to time
the share of them that hold one of the few most used memories goes into a gauge. Bounded: some
3 MB, counted beside the requests.
"""

from collections import Counter, deque

from app.metrics import CROWDING
from app.records import Answer

ANSWERS = 1024
NEAREST = 10
FEW = 10
"""Of so many answers, the share that has one of so many most used among its so many nearest."""


class Crowding:
    """The latest answers across agents, of this process."""

    def __init__(self) -> None:
        self._answers: deque[tuple[bytes, ...]] = deque(maxlen=ANSWERS)

    def note(self, answer: Answer) -> None:
        """Take one answer in."""
        if answer.hits:
            self._answers.append(tuple(hit.record for hit in answer.hits[:NEAREST]))

    async def measure(self) -> None:
        """Bring the gauge up to date."""
        CROWDING.set(self.share())

    def share(self) -> float:
        """0 to 1; 0 without answers."""
        if not self._answers:
            return 0.0
        used = Counter(record for answer in self._answers for record in answer)
        few = {record for record, _ in used.most_common(FEW)}
        return sum(not few.isdisjoint(answer) for answer in self._answers) / len(self._answers)
