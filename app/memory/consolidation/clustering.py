"""Clusters states by k-means, and matches clusters with earlier ones (scikit-learn, SciPy).

States are compared by cosine distance: k-means runs on vectors of length one, for which the squared
Euclidean distance is twice the cosine distance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import ExtraMissing
from app.extras.load import load

Vectors = NDArray[np.float32]

MIN_MEAN_LENGTH = 1e-4
"""Below this length of the mean of unit vectors, its direction is a float32 rounding residue."""

STARTS = 4
"""Seeded k-means++ starts, of which the best one is used."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Rows of the clustered array, nearest to the centre first; the centre has length one."""

    rows: NDArray[np.intp]
    centre: Vectors


def require_sklearn() -> None:
    """Raise ExtraMissing, which says what to install, if scikit-learn is not available."""
    try:
        load("sklearn.cluster")
    except ImportError as error:
        raise ExtraMissing(
            "Consolidation needs the package scikit-learn: run `.venv/bin/pip install "
            "scikit-learn` (or `pip install '.[consolidation]'` in the repository)."
        ) from error


def clusters_of(states: Vectors, count: int) -> list[Cluster]:
    """Split states, shape (n, dimension), into at most `count` clusters. Deterministic.

    No cluster is empty. One whose states cancel each other out has no direction and is left out.
    Raise ExtraMissing.
    """
    require_sklearn()
    unit = with_length_one(states)
    # There cannot be more clusters than different states.
    different = len(np.unique(unit, axis=0))
    model = (
        load("sklearn.cluster")
        .KMeans(n_clusters=min(count, different), n_init=STARTS, random_state=0)
        .fit(unit)
    )
    clusters = []
    for label in range(model.n_clusters):
        rows = np.flatnonzero(model.labels_ == label)
        mean = unit[rows].mean(axis=0, dtype=np.float64, keepdims=True)
        if np.linalg.norm(mean) < MIN_MEAN_LENGTH:
            continue
        centre = with_length_one(mean / np.linalg.norm(mean))[0]
        order = np.argsort(1 - unit[rows] @ centre, kind="stable")
        clusters.append(Cluster(rows[order], centre))
    return clusters


def completed(
    clusters: Sequence[Cluster], states: Vectors, rows: NDArray[np.intp]
) -> list[Cluster]:
    """Return the clusters with more rows of `states`, each added to the nearest cluster.

    The clusters' own rows index `states` as well. Centres do not move.
    """
    if not clusters or not len(rows):
        return list(clusters)
    centres = np.stack([cluster.centre for cluster in clusters])
    unit = with_length_one(states)
    nearest = (unit[rows] @ centres.T).argmax(axis=1)
    found = []
    for number, cluster in enumerate(clusters):
        members = np.concatenate([cluster.rows, rows[nearest == number]])
        order = np.argsort(1 - unit[members] @ cluster.centre, kind="stable")
        found.append(Cluster(members[order], cluster.centre))
    return found


def matched(
    centres: Sequence[Vectors], former: Sequence[Vectors], at_most: float
) -> dict[int, int]:
    """Return which centre continues which earlier one, by the assignment with the least total
    distance.

    Pairs farther apart than `at_most` (cosine distance) do not count. Raise ExtraMissing.
    """
    if not centres or not former:
        return {}
    require_sklearn()
    distances = 1 - np.stack(centres) @ with_length_one(np.stack(former)).T
    assigned = load("scipy.optimize").linear_sum_assignment(distances)
    pairs = zip(*assigned, strict=True)
    return {int(new): int(old) for new, old in pairs if distances[new, old] <= at_most}


def with_length_one(vectors: Vectors) -> Vectors:
    """Return each row divided by its norm. A row of zeros stays as it is."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = (vectors / np.where(norms == 0, 1, norms)).astype(np.float32)
    return scaled
