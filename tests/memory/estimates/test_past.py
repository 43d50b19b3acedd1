"""The past that a process compares itself: exact, and the same whatever else is compared."""

import numpy as np
import pytest

from app.memory.distances.kept_vectors import KeptStates
from app.memory.estimates.past import nearest, roughly_nearest
from tests.kit.fakes import question as any_question


def test_nearest_equals_float64_whatever_else_is_compared() -> None:
    random = np.random.default_rng(3)
    states = random.normal(size=(300, 24)).astype(np.float32)
    states[50:60] = states[10] + 1e-4 * random.normal(size=(10, 24)).astype(np.float32)
    states[70] = np.nan  # deleted
    kept = KeptStates(states, np.sqrt(np.einsum("ij,ij->i", states, states)))
    asked = states[10]
    exact = states.astype(np.float64) @ asked.astype(np.float64)
    exact = 1 - exact / (np.linalg.norm(states.astype(np.float64), axis=1) * exact[10] ** 0.5)
    every = any_question(vector=asked.tobytes(), top_k=300)
    found, distances = nearest(kept, np.arange(300), every)
    whole = dict(zip(found.tolist(), distances, strict=True))
    assert len(whole) == 299
    assert max(abs(exact[row] - distance) for row, distance in whole.items()) < 1e-6
    for _ in range(60):
        count = int(random.integers(1, 20))
        rows = np.sort(random.choice(300, random.integers(1, 200), replace=False))
        some = any_question(vector=asked.tobytes(), top_k=count, max_distance=1.2)
        found, distances = nearest(kept, rows, some)
        assert distances == [whole[row] for row in found.tolist()]
        among = sorted(whole[row] for row in rows.tolist() if row in whole)
        assert distances == [distance for distance in among[:count] if distance <= 1.2]
        _, distances = roughly_nearest(kept, rows, asked.tobytes(), count)
        assert np.allclose(distances, among[:count], atol=1e-6)


def test_most_of_what_is_compared_was_deleted_meanwhile() -> None:
    states = np.full((40, 8), np.nan, np.float32)
    states[7] = states[9] = 1.0
    kept = KeptStates(states, np.sqrt(np.einsum("ij,ij->i", states, states)))
    asked = any_question(vector=np.ones(8, np.float32).tobytes(), top_k=5)
    rows = np.arange(40)
    exactly, exact = nearest(kept, rows, asked)
    roughly, rough = roughly_nearest(kept, rows, asked.vector, asked.top_k)
    assert exactly.tolist() == roughly == [7, 9]
    assert exact == pytest.approx([0.0, 0.0], abs=1e-6) == rough
