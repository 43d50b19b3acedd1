"""What is foreseen is what would have been chosen, however distances are rounded."""

import numpy as np

from app.memory.estimates.evidence import first_distinct
from app.memory.estimates.history import Fact
from app.memory.estimates.reach import DOUBT, FAR, UNCERTAIN, Reach, foreseen


def test_what_is_foreseen_is_chosen_whatever_the_rounding() -> None:
    random = np.random.default_rng(7)
    sure = 0
    for _ in range(400):
        size, count = int(random.integers(1, 60)), int(random.integers(1, 12))
        starts = random.integers(0, 80, size).astype(float)
        facts = [
            Fact(f"m{i}", str(random.integers(2)), "buy", 1.0, s + 5, np.nan, (s, s + 5))
            for i, s in enumerate(starts.tolist())
        ]
        # Every other history has distances that rounding could exchange.
        grain = DOUBT if random.random() < 0.5 else 0.01
        distances = np.sort(random.integers(0, 200, size) * grain)
        at, found = foreseen(facts, distances.tolist(), known_at=80.0, count=count, is_whole=True)
        if (at, found) == UNCERTAIN:
            continue
        sure += 1
        for _ in range(5):
            order = np.argsort(distances + random.uniform(-DOUBT / 2, DOUBT / 2, size))
            known = [int(i) for i in order if facts[i].end <= 80.0]
            chosen = first_distinct(
                [facts[i].product for i in known], [facts[i].interval for i in known], count
            )
            assert {known[i] for i in chosen.kept} == set(at)
            assert chosen.found == found
    assert sure > 100


def test_reach_grows_at_once_and_shrinks_late() -> None:
    reach = Reach()
    reach.note(1.0, has_overlapped=True)
    assert reach.overlaps
    reach.note(7.5, has_overlapped=False)
    assert reach.factor == 8.0 >= FAR
    assert reach.foresees
    for _ in range(15):
        reach.note(1.2, has_overlapped=False)
    assert reach.factor == 8.0
    reach.note(2.5, has_overlapped=False)
    assert reach.factor == 3.0
    reach.doubt()
    assert not reach.foresees
