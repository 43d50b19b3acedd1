"""The data of the comparison: the market's windows, spread over tenants."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data import DataKind, Workload, workload
from bench.recall import kth_distances


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """`vectors` (n, d) belong to `agents` (n,). Question i, `asked` (q, d), is put by agent
    `askers[i]`, whose true tenth neighbour is `kth[i]` away.
    """

    vectors: NDArray[np.float32]
    agents: NDArray[np.int64]
    asked: NDArray[np.float32]
    askers: NDArray[np.int64]
    kth: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Save it for another process."""
        np.savez(
            path,
            vectors=self.vectors,
            agents=self.agents,
            asked=self.asked,
            askers=self.askers,
            kth=self.kth,
        )


def load_dataset(path: Path) -> Dataset:
    """Return what `save` wrote."""
    with np.load(path) as arrays:
        return Dataset(**{name: arrays[name] for name in arrays.files})


def make_dataset(
    kind: DataKind,
    *,
    memories: int,
    questions: int,
    seed: int,
    tenants: int = 20,
    dimension: int = 256,
) -> Dataset:
    """Spread `memories` evenly over `tenants`, in random order, and compute the truth."""
    made = workload(
        kind,
        name="compare",
        agents=tenants,
        memories_each=memories // tenants,
        questions=questions,
        dimension=dimension,
        seed=seed,
    )
    generator = np.random.default_rng([seed, 5])
    order = generator.permutation(made.total)
    return dataset_of(made, order=order, askers=generator.integers(0, tenants, questions))


def dataset_of(made: Workload, *, order: NDArray[np.int64], askers: NDArray[np.int64]) -> Dataset:
    """Return what `made` stores, agent by agent; question i is asked by askers[i]."""
    vectors = np.concatenate([moments.vectors for moments in made.stored])[order]
    agents = np.repeat(np.arange(len(made.stored)), [len(m) for m in made.stored])[order]
    kth = np.empty(len(askers), dtype=np.float32)
    for agent in np.unique(askers):
        rows = np.flatnonzero(askers == agent)
        kth[rows] = kth_distances(made.stored[agent].vectors, made.asked.vectors[rows])
    return Dataset(vectors, agents, made.asked.vectors, askers, kth)
