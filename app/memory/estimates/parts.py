"""The parts that estimates need besides their search, created once per process."""

from dataclasses import dataclass

from app.memory.distances.kept_vectors import KeptVectors
from app.memory.distances.recall import RecallByMetric, WeightedRecall
from app.memory.estimates.backcasts import Backcast, BackcastMaker
from app.memory.estimates.kept_histories import KeptHistories
from app.memory.estimates.past import PastRecalls
from app.memory.estimates.past_values import PastValues
from app.memory.evidence import EvidenceSearch
from app.memory.novelty import Novelty
from app.nodes.changes import Freshness
from app.read_path.stage import Recall
from app.read_path.versions import PartitionVersions
from app.storage.histories import HistoryReader
from app.vectors import VectorFormat


@dataclass(frozen=True, slots=True)
class Estimating:
    """The parts. `recall` answers by any distance. The caller closes `backcasts`."""

    recall: Recall
    reader: HistoryReader
    histories: KeptHistories
    evidence: EvidenceSearch
    novelty: Novelty
    backcasts: BackcastMaker


def estimating_parts(
    reader: HistoryReader,
    recall: Recall,
    versions: PartitionVersions,
    *,
    freshness: Freshness,
    max_memories: int,
    stored_as: VectorFormat,
    vectors_max_bytes: int,
) -> Estimating:
    """Return the parts, with the arguments of KeptHistories, Novelty and KeptVectors."""
    distances, backcasts = PastValues(1), PastValues(len(Backcast._fields))
    histories = KeptHistories(
        reader,
        versions,
        freshness=freshness,
        max_memories=max_memories,
        derived=(distances, backcasts),
    )
    vectors = KeptVectors(reader, dimension=stored_as.dimension, max_bytes=vectors_max_bytes)
    recall = RecallByMetric(recall, WeightedRecall(histories, vectors, reader))
    pasts = PastRecalls(recall, reader, vectors)
    evidence = EvidenceSearch(recall, histories, pasts)
    return Estimating(
        recall=recall,
        reader=reader,
        histories=histories,
        evidence=evidence,
        novelty=Novelty(pasts, distances, same_distance=stored_as.same_distance),
        backcasts=BackcastMaker(evidence, pasts, backcasts),
    )
