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
"""The probes that a starting service runs: the vital ones that store fewer than a hundred small
hashes.

The probe of timeouts is left out, because the service has just set search-on-timeout itself.
"""
