"""How hard each kind of HNSW index searches: EF_RUNTIME of every query, moved while it runs."""

from app.records import IndexKind
from app.storage import keys
from app.storage.schema import IndexSchema


class SearchEffort:
    """EF_RUNTIME by kind of index. Until it is set, a query carries none: the index has its own."""

    def __init__(self) -> None:
        self._ef_runtime: dict[IndexKind, int] = {}

    def set(self, kind: IndexKind, ef_runtime: int) -> None:
        """From now on searches in such indexes keep this many candidates."""
        self._ef_runtime[kind] = ef_runtime

    def attribute(self, schema: IndexSchema) -> str:
        """What stands in a KNN clause on this HNSW index, with a space before it; or nothing."""
        ef_runtime = self._ef_runtime.get(kind_of(schema))
        return "" if ef_runtime is None else f" EF_RUNTIME {ef_runtime}"


def kind_of(schema: IndexSchema) -> IndexKind:
    """Which kind of index this is."""
    if schema.alias == keys.SEMANTIC_INDEX:
        return "semantic"
    return "shared" if schema.alias == keys.EPISODIC_INDEX else "episodic"
