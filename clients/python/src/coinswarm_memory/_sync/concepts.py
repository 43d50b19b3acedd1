"""What the whole swarm knows: patterns, regimes and strategies."""

from collections.abc import Iterator, Sequence
from typing import Any, Unpack

from coinswarm_memory._sync.caller import Caller
from coinswarm_memory.answers import Concept, ConceptAnswer, Stored
from coinswarm_memory.encode.times import TimeLike
from coinswarm_memory.encode.vectors import ArrayLike, vector
from coinswarm_memory.identity import new_id
from coinswarm_memory.operations import concepts
from coinswarm_memory.operations.fields import contract_fields
from coinswarm_memory.operations.filters import ConceptFilters, MemoryType, Names
from coinswarm_memory.tokens import CONCEPTS
from coinswarm_memory.view import View


class Concepts:
    """The swarm's concepts. Made by `memory.concepts`."""

    def __init__(self, caller: Caller, view: View) -> None:
        self._caller = caller
        self._view = view

    def remember(
        self,
        concept: ArrayLike,
        *,
        memory_type: MemoryType,
        regime_name: str,
        sharpe_ratio: float,
        win_rate: float,
        metadata: dict[str, Any] | None = None,
        pinned: bool | None = None,
        id: str | None = None,
    ) -> Stored:
        """Store one concept. `concept`: shape (dimension,); `win_rate`: 0 to 1."""
        self._view.require_present("Storing")
        packed = vector(concept, "concept", self._caller.dimension())
        body = contract_fields(
            {
                "id": id or new_id(),
                "memory_type": memory_type,
                "regime_name": regime_name,
                "concept_vector": packed.tobytes(),
                "sharpe_ratio": sharpe_ratio,
                "win_rate": win_rate,
                "metadata": metadata,
                "pinned": pinned,
            }
        )
        stored = self._caller.call(concepts.store(body))
        self._caller.wrote(CONCEPTS, stored.token)
        return stored

    def recall(
        self,
        concept: ArrayLike,
        *,
        k: int = 10,
        memory_type: MemoryType | Sequence[MemoryType] | None = None,
        regime_name: Names | None = None,
        min_sharpe_ratio: float | None = None,
        min_win_rate: float | None = None,
        min_access_count: int | None = None,
        as_of: TimeLike | None = None,
        max_distance: float | None = None,
        exact: bool = False,
        vectors: bool = False,
        consistency: str | None = None,
    ) -> ConceptAnswer:
        """Return the `k` concepts most similar to a state or concept, nearest first."""
        packed = vector(concept, "concept", self._caller.dimension())
        question = contract_fields(
            {
                "concept_vector": packed.tobytes(),
                "k": k,
                "memory_type": memory_type,
                "regime_name": regime_name,
                "min_sharpe_ratio": min_sharpe_ratio,
                "min_win_rate": min_win_rate,
                "min_access_count": min_access_count,
                "as_of": self._view.bounded(as_of),
                "max_distance": max_distance,
                "exact": exact,
                "vectors": vectors,
            }
        )
        return self._caller.ask(
            CONCEPTS,
            consistency,
            lambda level: concepts.search(contract_fields({**question, "consistency": level})),
        )

    def query(
        self,
        *,
        sort_by: str = "sharpe_ratio",
        order: str = "desc",
        as_of: TimeLike | None = None,
        **filters: Unpack[ConceptFilters],
    ) -> Iterator[Concept]:
        """Go through the concepts that match, in an order, read page by page."""
        order_by = {"sort_by": sort_by, "order": order, "as_of": self._view.bounded(as_of)}
        wanted = contract_fields({**filters, **order_by})
        while True:
            page = self._caller.call(concepts.query(wanted))
            for concept in page.memories:
                yield concept
            if page.next_cursor is None:
                return
            wanted["cursor"] = page.next_cursor

    def get(self, id: str) -> Concept:
        """Return one concept with its vector. Raises MemoryNotFound."""
        return self._caller.call(concepts.fetch(id, self._view.as_of))

    def update(
        self,
        id: str,
        *,
        sharpe_ratio: float | None = None,
        win_rate: float | None = None,
        regime_name: str | None = None,
        metadata: dict[str, Any] | None = None,
        pinned: bool | None = None,
    ) -> Concept:
        """Replace the given fields of a concept; `metadata` is replaced whole."""
        self._view.require_present("Changing")
        changes = contract_fields(
            {
                "sharpe_ratio": sharpe_ratio,
                "win_rate": win_rate,
                "regime_name": regime_name,
                "metadata": metadata,
                "pinned": pinned,
            }
        )
        patched = self._caller.call(concepts.patch(id, changes))
        self._caller.wrote(CONCEPTS, patched.token)
        return patched

    def delete(self, id: str) -> None:
        """Delete one concept. Raises MemoryNotFound."""
        self._view.require_present("Deleting")
        self._caller.call(concepts.delete(id))
