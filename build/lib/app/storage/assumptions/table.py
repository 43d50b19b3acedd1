"""All probes, in the order in which they are shown."""

from app.storage.assumptions.answers import (
    EmptyRanges,
    FlatIsExact,
    HostileTags,
    OrderAndLimit,
    ReversedRanges,
)
from app.storage.assumptions.indexes import (
    AliasMoves,
    BuildingIsSaid,
    ErrorTexts,
    InfoIsRead,
    OneMemoryIsCheap,
    SizesCountOnce,
)
from app.storage.assumptions.limits import FullMemory, TimeoutIsAnError
from app.storage.assumptions.nodes import AnswersWhereAsked, ReplicaSearches
from app.storage.assumptions.probe import Probe

PROBES: tuple[Probe, ...] = (
    FlatIsExact(),
    OrderAndLimit(),
    HostileTags(),
    EmptyRanges(),
    ReversedRanges(),
    TimeoutIsAnError(),
    FullMemory(),
    InfoIsRead(),
    AliasMoves(),
    BuildingIsSaid(),
    ReplicaSearches(),
    SizesCountOnce(),
    AnswersWhereAsked(),
    ErrorTexts(),
    OneMemoryIsCheap(),
)

AT_START: tuple[Probe, ...] = tuple(
    probe for probe in PROBES if probe.is_vital and not isinstance(probe, TimeoutIsAnError)
)
"""Those that a service runs when it starts: the vital ones that store less than a hundred small
hashes. That a search out of time is an error, it has just set itself."""
