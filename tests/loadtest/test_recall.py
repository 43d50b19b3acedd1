import numpy as np
import pytest

from bench.recall import kth_distances, recall_of


def vectors(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 16), dtype=np.float32)


def truth(stored: np.ndarray, query: np.ndarray) -> list[int]:
    """The ten nearest by the plain formula, in double precision."""
    a, b = stored.astype(np.float64), query.astype(np.float64)
    similarity = (a @ b) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b))
    return [int(row) for row in np.argsort(-similarity)[:10]]


def test_the_true_neighbours_have_recall_one() -> None:
    stored, queries = vectors(500), vectors(300, seed=2)
    kth = kth_distances(stored, queries)
    for query, distance in zip(queries, kth, strict=True):
        assert recall_of(stored, query, truth(stored, query), float(distance)) == 1.0


def test_wrong_and_repeated_hits_do_not_count() -> None:
    stored = vectors(500)
    query = stored[7] + 0.01
    (kth,) = kth_distances(stored, query[np.newaxis])
    nearest = truth(stored, query)
    eleventh = truth(np.delete(stored, nearest, axis=0), query)[0]
    next_best = int(np.setdiff1d(np.arange(500), nearest)[eleventh])
    assert recall_of(stored, query, [*nearest[:9], next_best], float(kth)) == pytest.approx(0.9)
    assert recall_of(stored, query, [nearest[0]] * 10, float(kth)) == pytest.approx(0.1)
    assert recall_of(stored, query, nearest[:5], float(kth)) == pytest.approx(0.5)
    assert recall_of(stored, query, [], float(kth)) == 0.0


def test_any_of_equally_near_memories_is_right() -> None:
    stored = np.concatenate([np.tile(vectors(1, seed=3), (20, 1)), vectors(50)])
    query = stored[0]
    (kth,) = kth_distances(stored, query[np.newaxis])
    assert recall_of(stored, query, list(range(10, 20)), float(kth)) == 1.0


def test_with_fewer_memories_than_asked_for_all_of_them_are_right() -> None:
    stored, query = vectors(4), vectors(1, seed=2)[0]
    (kth,) = kth_distances(stored, query[np.newaxis])
    assert recall_of(stored, query, [0, 1, 2, 3], float(kth)) == 1.0
    assert recall_of(stored, query, [0, 1, 2], float(kth)) == 0.75
